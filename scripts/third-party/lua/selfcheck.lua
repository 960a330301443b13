-- Checks of the language and its libraries; ends with an error at the first that fails.
local function check(name, condition)
  if not condition then error("failed: " .. name, 0) end
end

check("integers", 7 // 2 == 3 and 7 % -3 == -2 and 1 << 62 == 4611686018427387904 and math.type(3) == "integer")
check("floats", 10 / 4 == 2.5 and 2 ^ 10 == 1024.0 and 0.1 + 0.2 ~= 0.3 and math.huge > 1e308)
check("overflow", math.maxinteger + 1 == math.mininteger)
check("strings", ("%5.2f|%q|%x"):format(3.14159, 'a"b', 255) == ' 3.14|"a\\"b"|ff')
check("patterns", ("key = value"):match("^(%w+)%s*=%s*(%w+)$") == "key")
check("gsub", (("hello world"):gsub("o", { o = "0" })) == "hell0 w0rld")
check("pack", string.unpack("<i4", string.pack("<i4", -5)) == -5)
check("utf8", utf8.len("naïve") == 5 and utf8.char(8364) == "€")

local t = {}
for i = 1, 10000 do t[i] = (i * 7919) % 10007 end
table.sort(t)
for i = 2, #t do check("sort", t[i - 1] <= t[i]) end
check("concat", table.concat({ 1, 2, 3 }, "-") == "1-2-3" and select("#", table.unpack({ 1, nil, 3 }, 1, 3)) == 3)

local class = setmetatable({}, { __call = function(_, x) return setmetatable({ x = x }, { __add = function(a, b) return a.x + b.x end }) end })
check("metatables", class(3) + class(4) == 7)

local log = {}
do
  local guard <close> = setmetatable({}, { __close = function() log[#log + 1] = "closed" end })
  log[#log + 1] = "open"
end
check("close", table.concat(log, " ") == "open closed")

local produce = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end)
check("coroutines", produce() + produce() + produce() == 14)
local ok, err = pcall(error, { code = 5 })
check("errors", not ok and err.code == 5)
check("traceback", select(2, xpcall(function() local x = nil; return x.y end, debug.traceback)):find("attempt to index"))
check("load", load("return ... + 1")(41) == 42)
check("dump", load(string.dump(function(a) return a * 2 end))(21) == 42)

local weak = setmetatable({}, { __mode = "v" })
for i = 1, 100 do weak[i] = {} end
collectgarbage()
local left = 0
for _ in pairs(weak) do left = left + 1 end
check("weak tables", left == 0)
local big = {}
for i = 1, 200000 do big[i] = { i, tostring(i) } end
check("memory", collectgarbage("count") > 10000)
big = nil
collectgarbage()
check("collector", collectgarbage("count") < 5000)

local name = os.tmpname()
local f = assert(io.open(name, "w"))
f:write("line one\n", 2, "\n")
f:close()
local lines = {}
for line in io.lines(name) do lines[#lines + 1] = line end
os.remove(name)
check("files", lines[1] == "line one" and lines[2] == "2" and io.open(name) == nil)
check("time", os.time({ year = 2000, month = 1, day = 1, hour = 12 }) > 946000000 and os.date("!%Y", 0) == "1970")
print("all checks of the language passed")
