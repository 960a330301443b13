# Prints the words of its input that are in a table. Ruby marks the point by the system call itself.
require "json"
require "set"

SQUARE = (1..100_000).to_h { |number| ["word#{number}", number * number] }

# prctl (157) with snapfn's operation "ready": an error in an ordinary run, without any effect.
begin
  $VERBOSE, verbose = nil, $VERBOSE # Ruby warns that `syscall` is not portable.
  syscall(157, 0x534e4150, 0, 0, 0, 0)
rescue SystemCallError
  # an ordinary run
ensure
  $VERBOSE = verbose
end

found = $stdin.read.split.select { |word| SQUARE.key?(word) }
puts JSON.generate(found: found, sum: found.sum { |word| SQUARE[word] })
