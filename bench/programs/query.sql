SELECT id, value FROM rows WHERE name = 'name of row 77777';
