// What the timing programs share: runs in turn, medians, ratios within a run, and the two ways to print them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace roamstead::timing {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  auto middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// One line of the result: a thing measured doing one kind of work, compared with a reference that did the
// same work in the same round. The machine may be shared, so ratios are taken round by round and their median
// counts.
struct Line {
  std::string work;  // "sequential 64 KiB read"
  std::string subject;
  double bytes_per_second = 0;     // median
  double ratio = 0;                // median of subject / reference; 0: it is the reference itself
  double lowest = 0, highest = 0;  // of the ratios
  double wanted = 0;               // the least ratio that is good enough; 0: none is asked for
};

// `run` does the work and returns how many bytes it moved. The subjects of one kind of work take turns in
// every round; the first one added is the reference.
class Contest {
 public:
  explicit Contest(std::string work) : work_(std::move(work)) {}

  void add(std::string subject, double wanted, std::function<double()> run) {
    subjects_.push_back({std::move(subject), wanted, std::move(run), {}});
  }
  // `prepare` is called before every run and not timed.
  std::vector<Line> measure(
      int rounds, const std::function<void()>& prepare = [] {}) {
    for (int round = -1; round < rounds; ++round) {  // the first is a warm-up
      for (auto& subject : subjects_) {
        prepare();
        auto start = std::chrono::steady_clock::now();
        auto bytes = subject.run();
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (round >= 0) subject.speeds.push_back(bytes / took.count());
      }
    }
    std::vector<Line> lines;
    for (const auto& subject : subjects_) {
      Line line{work_, subject.name, median(subject.speeds), 0, 0, 0, subject.wanted};
      if (&subject != &subjects_.front()) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < subject.speeds.size(); ++i)
          ratios.push_back(subject.speeds[i] / subjects_.front().speeds[i]);
        line.ratio = median(ratios);
        line.lowest = *std::min_element(ratios.begin(), ratios.end());
        line.highest = *std::max_element(ratios.begin(), ratios.end());
      }
      lines.push_back(line);
    }
    return lines;
  }

 private:
  struct Subject {
    std::string name;
    double wanted = 0;
    std::function<double()> run;
    std::vector<double> speeds;
  };
  std::string work_;
  std::vector<Subject> subjects_;
};

inline void print_text(const std::vector<Line>& lines) {
  std::string work;
  for (const auto& line : lines) {
    if (line.work != work) std::printf("%s\n", line.work.c_str());
    work = line.work;
    std::printf("  %-40s %9.0f MB/s", line.subject.c_str(), line.bytes_per_second / 1e6);
    if (line.ratio != 0) std::printf("  ratio %.2f [%.2f-%.2f]", line.ratio, line.lowest, line.highest);
    if (line.wanted != 0)
      std::printf("  %s %.2f", line.ratio >= line.wanted ? "ok, at least" : "BELOW", line.wanted);
    std::printf("\n");
  }
}

inline void print_json(const std::vector<Line>& lines) {
  auto array = nlohmann::json::array();
  for (const auto& line : lines) {
    nlohmann::json object = {
        {"work", line.work}, {"subject", line.subject}, {"bytes_per_second", line.bytes_per_second}};
    if (line.ratio != 0)
      object.update({{"ratio", line.ratio}, {"ratio_min", line.lowest}, {"ratio_max", line.highest}});
    if (line.wanted != 0) object["wanted"] = line.wanted;
    array.push_back(std::move(object));
  }
  std::printf("%s\n", array.dump(2).c_str());
}

}  // namespace roamstead::timing
