# Completion of snaprun for fish.
function __snaprun_names
    snaprepo ls 2>/dev/null | awk 'NR > 1 { print $2 == "latest" ? $1 : $1 ":" $2 }'
end
complete -c snaprun -a '(__snaprun_names)'
for option in @OPTIONS@
    complete -c snaprun -l (string replace -r '^--' '' -- $option)
end
