-- Word counts.
local words = {}

function words.count(text)
  local counts = {}
  for word in text:gmatch("%S+") do counts[word] = (counts[word] or 0) + 1 end
  return counts
end

return words
