-- An interpreter with tables in memory, which then runs its standard input.
local words = {}
for i = 1, 100000 do words["word " .. i] = i end
WORDS = words
load(io.read("a"))()
