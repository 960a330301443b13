<?php
// Prints the words of its input that are in a table. PHP has no system calls: the point is the first read of standard
// input, --at syscall:read:0.
$square = [];
for ($number = 1; $number <= 100000; $number++) {
    $square["word$number"] = $number * $number;
}
$found = array_values(array_filter(
    preg_split('/\s+/', stream_get_contents(STDIN), -1, PREG_SPLIT_NO_EMPTY),
    fn($word) => isset($square[$word])
));
echo json_encode(["found" => $found, "sum" => array_sum(array_map(fn($word) => $square[$word], $found))]), "\n";
