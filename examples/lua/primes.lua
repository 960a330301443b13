-- Primes, from a table that grows when it has to: work that a snapshot saves.
local primes = { known = { 2 }, limit = 2 }

function primes.upto(n)
  for candidate = primes.limit + 1, n do
    local prime = true
    for _, p in ipairs(primes.known) do
      if p * p > candidate then break end
      if candidate % p == 0 then prime = false break end
    end
    if prime then primes.known[#primes.known + 1] = candidate end
  end
  primes.limit = math.max(primes.limit, n)
  local result = {}
  for _, p in ipairs(primes.known) do
    if p > n then break end
    result[#result + 1] = p
  end
  return result
end

return primes
