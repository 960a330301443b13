#compdef snaprun
# Completion of snaprun for zsh.
_snaprun_names() {
    local -a names
    names=(${(f)"$(snaprepo ls 2>/dev/null | awk 'NR > 1 { print $2 == "latest" ? $1 : $1 ":" $2 }')"})
    compadd -a names
    _files -g '*.snap'
}
_arguments -S '*:option:(@OPTIONS@)' '1:snapshot:_snaprun_names' '*::argument:_files'
