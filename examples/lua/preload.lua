-- Loads what every script needs, marks the snapshot point, then runs the script named on the command line:
--     lua preload.lua SCRIPT ARGS...
local snap = require "snapmodule"
words = require "words"
primes = require "primes"
inspect = require "inspect"
primes.upto(20000) -- fill the table

if snap.ready() then
  -- argv[0] is the interpreter, argv[1] this file.
  local argv = snap.argv()
  arg = { [0] = argv[1] }
  for i = 2, #argv do arg[i - 1] = argv[i] end
  math.randomseed(snap.generation())
end

local script = table.remove(arg, 1)
if not script then
  io.stderr:write("usage: preload.lua SCRIPT ARGS...\n")
  os.exit(2)
end
arg[0] = script
dofile(script)
