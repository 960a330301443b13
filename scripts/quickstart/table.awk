# Makes a table of what timing.c prints.
function ms(us) { return sprintf(us < 9950 ? "%.2f ms" : "%.0f ms", us / 1000) }
BEGIN {
    FS = "\t"
    printf "  %-26s%27s%34s\n", "", "first output        ", "exit            "
    printf "  %-26s%11s%10s%6s  %14s%10s\n", "", "ordinary", "snaprun", "", "ordinary", "snaprun"
}
{
    printf "  %-26s%11s%10s%s%6s%s", $1, ms($2), ms($3), bold, sprintf("%.0fx", $2 / $3), plain
    printf "  %14s%10s%6s\n", ms($4), ms($5), sprintf("%.0fx", $4 / $5)
    fflush()
}
