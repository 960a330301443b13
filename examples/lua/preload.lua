-- Loads what every script needs, marks the snapshot point, then runs the script named on the command line:
--     lua preload.lua SCRIPT ARGS...        or, from a snapshot,        snaprun NAME SCRIPT ARGS...
local snap = require "snapmodule"
words = require "words"
primes = require "primes"
inspect = require "inspect"
primes.upto(20000) -- fill the table

if snap.ready() then
  -- `snaprun NAME script.lua a b`: everything after argv[0] is the script and its arguments.
  arg = { table.unpack(snap.argv()) }
  math.randomseed(snap.generation())
end

local script = table.remove(arg, 1)
if not script then
  io.stderr:write("usage: preload.lua SCRIPT ARGS...\n")
  os.exit(2)
end
arg[0] = script
dofile(script)
