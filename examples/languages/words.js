// Prints the words of its input that are in a table. The point is the first read of standard input,
// --at syscall:read:0: so the input is read by a call that blocks.
const fs = require("fs");
const square = new Map();
for (let number = 1; number <= 100000; number++) square.set(`word${number}`, number * number);

const found = fs.readFileSync(0, "utf8").split(/\s+/).filter((word) => square.has(word));
console.log(JSON.stringify({ found, sum: found.reduce((sum, word) => sum + square.get(word), 0) }));
