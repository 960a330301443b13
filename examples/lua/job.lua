-- A script as one would run it by hand; its modules are loaded already.
print(#arg, arg[1], arg[2])
print(#primes.upto(20000), words.count("one two one").one, inspect.describe({ k = { 1, 2 } }))
