print(WORDS["word 77777"])
