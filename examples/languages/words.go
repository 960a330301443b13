// Prints the words of its input that are in a table. cgo calls snap_ready() of snap.h.
package main

// #cgo pkg-config: snap
// #include <snap.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	square := make(map[string]int)
	for number := 1; number <= 100000; number++ {
		square[fmt.Sprint("word", number)] = number * number
	}
	C.snap_ready()
	text, _ := io.ReadAll(os.Stdin)
	found, sum := []string{}, 0
	for _, word := range strings.Fields(string(text)) {
		if value, known := square[word]; known {
			found, sum = append(found, word), sum+value
		}
	}
	answer, _ := json.Marshal(map[string]any{"found": found, "sum": sum})
	fmt.Println(string(answer))
}
