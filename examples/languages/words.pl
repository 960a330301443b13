# Prints the words of its input that are in a table. perl marks the point by the system call itself.
use strict;
use warnings;
use IO::Handle;
use JSON::PP;
use List::Util qw(sum0);
use POSIX ();

my %square = map { ("word$_" => $_ * $_) } 1 .. 100_000;

# prctl (157) with snapfn's operation "ready": an error in an ordinary run, without any effect.
syscall(157, 0x534e4150, 0, 0, 0, 0);

my @found = grep { exists $square{$_} } map { split } <STDIN>;
print JSON::PP->new->canonical->encode({ found => \@found, sum => sum0(map { $square{$_} } @found) }), "\n";

# The end without destroying every object, which would take longer than all the rest of an instance.
STDOUT->flush() or die "cannot write: $!\n";
POSIX::_exit(0);
