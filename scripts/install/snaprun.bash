# Completion of snaprun for bash.
_snaprun() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} index
    case $before in
        --populate) COMPREPLY=($(compgen -W 'none auto all' -- "$word")); return ;;
        --if-stale) COMPREPLY=($(compgen -W 'warn fallback fail' -- "$word")); return ;;
        --from) COMPREPLY=($(compgen -f -- "$word")); return ;;
        -b | --bind | --pool) return ;;
    esac
    # Behind the name come the arguments of the program.
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            --populate | --if-stale | -b | --bind | --from) index=$((index + 1)) ;;
            --pool) index=$((index + 2)) ;;
            -*) ;;
            *) COMPREPLY=($(compgen -f -- "$word")); return ;;
        esac
    done
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W '@OPTIONS@' -- "$word"))
    else
        COMPREPLY=($(compgen -W "$(snaprepo ls 2>/dev/null | awk 'NR > 1 { print $2 == "latest" ? $1 : $1 ":" $2 }')" -- "$word") $(compgen -f -X '!*.snap' -- "$word"))
    fi
} && complete -o filenames -F _snaprun snaprun
