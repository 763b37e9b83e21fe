// How fast hives are recovered, walked, compared, exported and edited, against hivex and libregf as programs
// on the same files in the same run.
//
//   hive_timing HIVES [--rounds N] [--json]
//
// HIVES is a folder with a 12 MB SYSTEM hive and its logs (SYSTEM_B, SYSTEM_B.LOG1, SYSTEM_B.LOG2) and a
// clean one (SYSTEM), unpacked or as .xz. Exit status 0 when every bound was kept, 1 otherwise.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "common/base/text.h"
#include "common/os/file.h"
#include "common/registry/check.h"
#include "common/registry/compare.h"
#include "common/registry/editor.h"
#include "common/registry/recovery.h"
#include "common/registry/reg_text.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"
#include "tests/timing/timing.h"

using namespace roamstead;
using namespace roamstead::registry;

namespace {

struct Bound {
  std::string work;
  std::string subject;
  double milliseconds = 0;  // median
  double lowest = 0;
  double highest = 0;
  double limit = 0;  // 0: for comparison only
};

using support::must;

// Counts, and looks at every byte of data.
class Reader final : public TreeVisitor {
 public:
  bool enter(const Key&, const std::string&, std::uint32_t) override { return ++keys > 0; }
  void value(const Key&, const std::string&, const Value&, ByteView data) override {
    ++values;
    for (std::size_t i = 0; i + 8 <= data.size(); i += 8) sum += load_le<std::uint64_t>(data, i);
  }
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::uint64_t sum = 0;
};

class HiveTiming {
 public:
  HiveTiming(std::string hives, int rounds, std::string directory)
      : hives_(std::move(hives)), directory_(std::move(directory)), rounds_(rounds) {
    for (const char* name : {"SYSTEM_B", "SYSTEM_B.LOG1", "SYSTEM_B.LOG2", "SYSTEM"}) unpack(name);
  }

  std::vector<Bound> run() {
    recover_and_walk();
    compare_states();
    export_text();
    set_value();
    memory();
    return bounds_;
  }

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  void shell(const std::string& command) const {
    if (std::system(command.c_str()) != 0) {
      std::cerr << "failed: " << command << '\n';
      std::exit(2);
    }
  }

  void unpack(const std::string& name) const {
    const auto from = hives_ + "/" + name;
    if (std::filesystem::exists(from)) {
      std::filesystem::copy_file(from, path(name));
    } else {
      shell("xz -dc '" + from + ".xz' > '" + path(name) + "'");
    }
  }

  Bytes read(const std::string& name) const {
    return must(os::read_file(os::real_file_system(), path(name), std::uint64_t{1} << 31));
  }

  double once(const std::function<void()>& work) const {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  // Subjects take turns in every round; the first round warms up.
  void measure(const std::string& work,
               const std::vector<std::pair<std::string, std::function<void()>>>& subjects, double limit) {
    std::vector<std::vector<double>> times(subjects.size());
    for (int round = -1; round < rounds_; ++round)
      for (std::size_t i = 0; i < subjects.size(); ++i) {
        const auto took = once(subjects[i].second);
        if (round >= 0) times[i].push_back(took);
      }
    for (std::size_t i = 0; i < subjects.size(); ++i)
      bounds_.push_back({work, subjects[i].first, timing::median(times[i]),
                         *std::min_element(times[i].begin(), times[i].end()),
                         *std::max_element(times[i].begin(), times[i].end()), i == 0 ? limit : 0});
  }

  Bytes recovered() const {
    const auto primary = read("SYSTEM_B");
    const auto first = read("SYSTEM_B.LOG1");
    const auto second = read("SYSTEM_B.LOG2");
    const LogFile logs[] = {{"LOG1", first}, {"LOG2", second}};
    return must(recover(primary, "SYSTEM_B", logs)).file;
  }

  void recover_and_walk() {
    const auto recovered_path = path("recovered");
    must(os::write_file_durably(os::real_file_system(), recovered_path, recovered()));
    measure("open, recover from two logs, walk every value of a 12 MB hive",
            {{"roamstead",
              [&] {
                const auto file = recovered();
                const auto hive = must(Hive::open(file, "SYSTEM_B"));
                Reader reader;
                hive.walk(must(hive.root()), reader);
                if (reader.keys != 35595 || reader.values != 78901) std::exit(2);
              }},
             {"hivexml (recovered already)", [&] { shell("hivexml '" + recovered_path + "' > /dev/null"); }},
             {"regfexport (recovered already)",
              [&] { shell("regfexport '" + recovered_path + "' > /dev/null"); }}},
            60);
  }

  void compare_states() {
    const auto before = recovered();
    auto editor = must(Editor::open(before, "after"));
    std::vector<std::string> paths;
    class Paths final : public TreeVisitor {
     public:
      explicit Paths(std::vector<std::string>& out) : out_(out) {}
      bool enter(const Key& key, const std::string& where, std::uint32_t) override {
        if (key.value_count > 0) out_.push_back(where);
        return true;
      }
      std::vector<std::string>& out_;
    } collector(paths);
    editor.hive().walk(must(editor.hive().root()), collector);
    for (std::size_t i = 0; i < 100; ++i) {
      const auto key = must(editor.hive().find(paths[i * paths.size() / 100]));
      must(editor.set_value(key.cell, u"Roamstead", 4, Bytes(4, std::byte{1})));
    }
    editor.finish();
    const auto after = to_bytes(editor.file());
    measure("compare two states of it that differ in 100 values",
            {{"roamstead",
              [&] {
                const auto a = must(Hive::open(before, "before"));
                const auto b = must(Hive::open(after, "after"));
                int differences = 0;
                compare(
                    a, b, [&](const Difference&) { return ++differences > 0; },
                    [](const Defect&) { std::exit(2); });
                if (differences != 100) std::exit(2);
              }}},
            80);
  }

  void export_text() {
    const auto system = path("SYSTEM");
    measure(
        "export a clean 12 MB hive as .reg text",
        {{"roamstead",
          [&] {
            const auto file = read("SYSTEM");
            const auto hive = must(Hive::open(file, "SYSTEM"));
            std::vector<Defect> defects;
            std::ofstream out(path("out.reg"), std::ios::binary);
            must(export_reg(
                hive, must(hive.root()), "HKEY_LOCAL_MACHINE\\SYSTEM",
                [&](std::u16string_view text) -> Result<void> {
                  out.write(reinterpret_cast<const char*>(text.data()),
                            static_cast<std::streamsize>(text.size() * 2));
                  return {};
                },
                defects));
          }},
         {"reglookup", [&] { shell("reglookup '" + system + "' > '" + path("out.txt") + "' 2>/dev/null"); }},
         {"hivexregedit --export",
          [&] {
            shell("hivexregedit --export --prefix P '" + system + "' '\\' > '" + path("out.txt") + "'");
          }}},
        0);
    const auto count = bounds_.size();
    for (std::size_t i = count - 2; i < count; ++i)
      ratios_.push_back({bounds_[i].subject, bounds_[i].milliseconds / bounds_[count - 3].milliseconds});
  }

  void set_value() {
    auto editor = must(Editor::open(read("SYSTEM"), "SYSTEM"));
    const auto* where = "ControlSet001\\Control\\ComputerName\\ComputerName";
    std::uint32_t number = 0;
    measure(
        "find a key and set one value in a hive held in memory",
        {{"roamstead",
          [&] {
            const auto name = must(to_utf16("WKS-" + std::to_string(100000 + ++number)));
            const auto key = must(editor.hive().find(where));
            must(editor.set_value(key.cell, u"ComputerName", 1,
                                  std::as_bytes(std::span(name.data(), name.size()))));
            editor.finish();
          }},
         {"roamstead, a new value of 3,000 bytes",
          [&] {
            const auto key = must(editor.hive().find(where));
            must(editor.set_value(key.cell, must(to_utf16("v" + std::to_string(++number))), 3, Bytes(3000)));
            editor.finish();
          }}},
        0.2);
    auto fresh = must(Editor::open(read("SYSTEM"), "SYSTEM"));
    const auto key = must(fresh.hive().find(where));
    must(fresh.set_value(key.cell, u"ComputerName", 1, Bytes(30, std::byte{65})));
    fresh.finish();
    dirty_bytes_ = fresh.dirty().total_bytes();
  }

  // What an open editor takes beyond the program itself, as a multiple of the hive.
  void memory() {
    auto resident = [] {
      std::ifstream status("/proc/self/statm");
      std::uint64_t pages = 0;
      status >> pages >> pages;
      return static_cast<double>(pages) * 4096;
    };
    auto bytes = read("SYSTEM");
    const auto size = static_cast<double>(bytes.size());
    const auto before = resident() - size;
    auto editor = must(Editor::open(std::move(bytes), "SYSTEM"));
    must(editor.set_value(must(editor.hive().root()).cell, u"v", 3, Bytes(100)));
    memory_ratio_ = (resident() - before) / size;
  }

  std::string hives_;
  std::string directory_;
  int rounds_;
  std::vector<Bound> bounds_;

 public:
  std::vector<std::pair<std::string, double>> ratios_;  // of export times to ours
  std::uint64_t dirty_bytes_ = 0;
  double memory_ratio_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  std::string hives;
  int rounds = 7;
  bool json = false;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (word == "--json") {
      json = true;
    } else if (word == "--rounds" && i + 1 < count) {
      rounds = std::max(1, std::atoi(arguments[++i]));
    } else {
      hives = word;
    }
  }
  if (hives.empty()) {
    std::cerr << "usage: hive_timing HIVES [--rounds N] [--json]\n";
    return 2;
  }
  support::TemporaryDirectory directory;
  HiveTiming timing(hives, rounds, directory.path());
  const auto bounds = timing.run();
  bool kept = timing.memory_ratio_ < 1.5;
  auto list = nlohmann::json::array();
  for (const auto& bound : bounds) {
    const bool ok = bound.limit == 0 || bound.milliseconds < bound.limit;
    kept = kept && ok;
    list.push_back({{"work", bound.work},
                    {"subject", bound.subject},
                    {"milliseconds", bound.milliseconds},
                    {"lowest", bound.lowest},
                    {"highest", bound.highest},
                    {"limit", bound.limit}});
    if (!json)
      std::printf(
          "%-62s %-38s %10.3f ms [%.3f-%.3f]%s\n", bound.work.c_str(), bound.subject.c_str(),
          bound.milliseconds, bound.lowest, bound.highest,
          bound.limit == 0 ? "" : fmt::format("  {} {}", ok ? "ok, below" : "ABOVE", bound.limit).c_str());
  }
  auto ratios = nlohmann::json::object();
  for (const auto& [subject, ratio] : timing.ratios_) {
    kept = kept && ratio >= 5;
    ratios[subject] = ratio;
    if (!json)
      std::printf("export: %s takes %.1f times as long%s\n", subject.c_str(), ratio,
                  ratio >= 5 ? "" : "  BELOW 5");
  }
  if (json) {
    std::printf("%s\n", nlohmann::json{{"times", list},
                                       {"export_ratios", ratios},
                                       {"memory_ratio", timing.memory_ratio_},
                                       {"dirty_bytes_of_one_value", timing.dirty_bytes_}}
                            .dump(2)
                            .c_str());
  } else {
    std::printf(
        "memory of an open editor: %.2f of the hive; sectors that one value makes dirty: %llu bytes\n",
        timing.memory_ratio_, static_cast<unsigned long long>(timing.dirty_bytes_));
  }
  return kept ? 0 : 1;
}
