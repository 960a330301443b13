-- A table as text, in a fixed order.
local inspect = {}

function inspect.describe(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts, keys = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do parts[#parts + 1] = tostring(key) .. "=" .. inspect.describe(value[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

return inspect
