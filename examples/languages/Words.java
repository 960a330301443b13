import java.util.HashMap;
import java.util.Map;

/** Prints the words of its input that are in a table. The point is the first read of standard input. */
public class Words {
    public static void main(String[] args) throws Exception {
        Map<String, Long> square = new HashMap<>();
        for (long number = 1; number <= 100_000; number++) square.put("word" + number, number * number);
        StringBuilder found = new StringBuilder();
        long sum = 0;
        for (String word : new String(System.in.readAllBytes()).split("\\s+")) {
            if (!square.containsKey(word)) continue;
            found.append(found.length() == 0 ? "" : ",").append('"').append(word).append('"');
            sum += square.get(word);
        }
        System.out.println("{\"found\":[" + found + "],\"sum\":" + sum + "}");
    }
}
