# Adds up the events of `snaprepo push --json` and `pull --json` by what the layers hold.
function value(name) {
    match($0, "\"" name "\":\"?[^\",}]*")
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
}
function kib(bytes) { return sprintf("%.0f KiB", bytes / 1024) }
function row(label, kind) {
    if (moved[kind] + there[kind] > 0)
        printf "%-20s %2d layers moved, %9s; %d there already, %9s\n", label, moved[kind], kib(sent[kind]), there[kind], kib(kept[kind])
}
{ event = value("event"); kind = value("kind"); sub(/^"/, "", event); sub(/^"/, "", kind) }
event == "transferred" { moved[kind]++; sent[kind] += value("moved") }
event == "present" || event == "mounted" || event == "stored" { there[kind]++; kept[kind] += value("size") }
END {
    row("snaprun", "loader")
    row("code and libraries", "files")
    row("parts of snapshot", "part")
    row("list of parts", "split")
    row("init data file", "init")
}
