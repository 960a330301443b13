// An ordinary command-line tool without a line for us: the snapshot is taken before main, when the static table is built.
#include <algorithm>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

static const std::set<std::string> stop_words = [] {
    std::set<std::string> words{"a", "and", "in", "is", "of", "on", "the", "to"};
    for (int i = 0; i < 20000; i++) words.insert("filler" + std::to_string(i));
    return words;
}();

int main(int argc, char **argv) {
    const char *limit_text = argc > 1 ? argv[1] : "3";
    std::size_t limit = std::stoul(limit_text);
    std::map<std::string, int> counts;
    std::string word;
    while (std::cin >> word)
        if (!stop_words.count(word)) counts[word]++;
    std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](auto &a, auto &b) { return a.second > b.second; });
    if (sorted.size() > limit) sorted.resize(limit);
    for (auto &[text, count] : sorted) std::cout << count << ' ' << text << '\n';
    return sorted.empty();
}
