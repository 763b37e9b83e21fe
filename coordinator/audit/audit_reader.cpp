#include "coordinator/audit/audit_reader.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>

#include "coordinator/audit/audit_file.h"

namespace roamstead::audit {
namespace {

class Verifier {
 public:
  Verifier(os::FileSystem& files, std::string directory, std::optional<Head> head)
      : files_(files), directory_(std::move(directory)), expected_(std::move(head)) {}

  Result<Verification> run(bool earlier_archived) {
    RS_TRY(auto numbers, list_files(files_, directory_));
    if (!numbers.empty() && numbers.front() != 1) {
      if (!earlier_archived) {
        stop(file_name(1), 0, 0, "is missing (files that were archived: say so, with --archived)");
        return std::move(report_);
      }
      first_ = true;
    }
    for (std::size_t i = 0; i < numbers.size() && !report_.first_break; ++i) {
      if (i != 0 && numbers[i] != numbers[i - 1] + 1) {
        stop(file_name(numbers[i - 1] + 1), 0, 0, "is missing");
        break;
      }
      RS_CHECK(one_file(numbers[i]));
    }
    if (!report_.first_break) end();
    return std::move(report_);
  }

 private:
  void stop(std::string file, std::uint64_t line, std::uint64_t offset, std::string reason) {
    report_.first_break = Break{std::move(file), line, offset, std::move(reason)};
  }

  Result<void> one_file(std::uint64_t number) {
    auto name = file_name(number);
    RS_TRY(auto content, os::read_file(files_, os::join_path(directory_, name), kMaxFileBytes));
    ++report_.files;
    if (content.empty()) {
      if (empty_.empty()) empty_ = name;
      report_.notes.push_back(name + " is empty: its beginning was not written");
      return {};
    }
    std::optional<Break> wrong;
    std::uint64_t line = 0;
    auto from = first_ ? std::nullopt : std::optional(report_.last);
    auto scanned = scan(content, from, [&](const Head& at, std::string_view json) {
      ++line;
      if (wrong) return;
      if (line == 1) wrong = begins(number, json);
      if (!wrong && expected_ && at.sequence == expected_->sequence && at.hash != expected_->hash)
        wrong = Break{name, line, 0,
                      "is not the record " + std::to_string(at.sequence) + " that was noted as the last one"};
    });
    if (wrong) {
      report_.first_break = std::move(wrong);
      return {};
    }
    if (scanned.lines != 0) {
      first_ = false;
      empty_.clear();
      report_.records += scanned.lines;
      report_.last = scanned.head;
    }
    if (scanned.problem.empty()) return {};
    Break place{name, scanned.lines + 1, scanned.good_bytes, scanned.problem};
    if (scanned.lines == 0 && scan(content, std::nullopt, {}).lines != 0) {
      // A good file that goes on from something else than what is left of those before.
      if (!torn_.empty())
        place = torn_.front().place;
      else if (!empty_.empty())
        place = {empty_, 0, 0, "is empty, and the next file goes on from something else than those before"};
      report_.first_break = std::move(place);
      return {};
    }
    auto tail = ByteView(content).subspan(static_cast<std::size_t>(scanned.good_bytes));
    torn_.push_back({{number, scanned.good_bytes, tail.size(), sha256(tail)}, std::move(place)});
    return {};
  }

  // What the first record of a file says of the files before.
  std::optional<Break> begins(std::uint64_t number, std::string_view json) {
    auto begin = parse_begin(json);
    if (!begin || begin->number != number)
      return Break{file_name(number), 1, 0, "is not the beginning of this file"};
    for (const auto& each : torn_) {
      if (std::find(begin->torn.begin(), begin->torn.end(), each.bytes) == begin->torn.end())
        return each.place;
      report_.notes.push_back(each.place.file + ": " + std::to_string(each.bytes.bytes) +
                              " bytes from offset " + std::to_string(each.bytes.offset) +
                              " are a write that a crash cut, noted in " + file_name(number));
    }
    auto cut = std::move(torn_);
    torn_.clear();
    if (!begin->expected) return std::nullopt;
    // What was durable does not go by a crash: where it is broken is where somebody was.
    if (!cut.empty()) return cut.front().place;
    return Break{file_name(number), 1, 0,
                 "notes that record " + std::to_string(begin->expected->sequence) +
                     " was durable before it and was gone or changed when this file was begun (the last "
                     "one left was " +
                     std::to_string(begin->previous.sequence) + ")"};
  }

  void end() {
    for (const auto& each : torn_) {
      if (expected_ && expected_->sequence > report_.last.sequence) {
        stop(each.place.file, each.place.line, each.place.offset, each.place.reason);
        return;
      }
      report_.notes.push_back(each.place.file + ": " + std::to_string(each.bytes.bytes) +
                              " bytes from offset " + std::to_string(each.bytes.offset) +
                              " are no whole records; the coordinator notes them at its next start");
    }
    if (!expected_) {
      report_.notes.push_back("no head is noted: records missing at the end would not be noticed");
    } else if (expected_->sequence > report_.last.sequence) {
      auto file = report_.files == 0 ? file_name(1) : file_name(last_number());
      stop(file, 0, 0,
           "ends at record " + std::to_string(report_.last.sequence) + ", record " +
               std::to_string(expected_->sequence) + " was durable: the end was cut off");
    }
  }

  std::uint64_t last_number() {
    auto numbers = list_files(files_, directory_);
    return numbers && !numbers->empty() ? numbers->back() : 1;
  }

  struct TornAt {
    Torn bytes;
    Break place;
  };

  os::FileSystem& files_;
  const std::string directory_;
  const std::optional<Head> expected_;
  Verification report_;
  std::vector<TornAt> torn_;  // not noted yet
  std::string empty_;         // the first empty file since the chain's last record
  bool first_ = false;        // the next file begins a chain whose beginning is elsewhere
};

bool concerns(const nlohmann::json& record, const std::string& desktop) {
  auto is = [&](const char* name) {
    auto found = record.find(name);
    return found != record.end() && found->is_string() &&
           found->get_ref<const std::string&>() == "desktop " + desktop;
  };
  if (is("who") || is("about")) return true;
  auto fields = record.find("fields");
  if (fields == record.end() || !fields->is_object()) return false;
  auto named = fields->find("desktop");
  return named != fields->end() && named->is_string() && named->get_ref<const std::string&>() == desktop;
}

}  // namespace

Result<Verification> verify(os::FileSystem& files, const std::string& directory,
                            const std::optional<Head>& head, bool earlier_archived) {
  return Verifier(files, directory, head).run(earlier_archived);
}

Result<std::vector<std::string>> read(os::FileSystem& files, const std::string& directory,
                                      const Filter& filter) {
  RS_TRY(auto numbers, list_files(files, directory));
  // From the newest file back, until there are enough.
  std::deque<std::string> records;
  for (auto it = numbers.rbegin(); it != numbers.rend() && records.size() < filter.limit; ++it) {
    RS_TRY(auto content, os::read_file(files, os::join_path(directory, file_name(*it)), kMaxFileBytes));
    auto text = as_text(content);
    std::deque<std::string> of_file;
    bool older = false;
    while (!text.empty()) {
      auto end = std::min(text.find('\n'), text.size());
      auto line = parse_line(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      if (!line) continue;
      auto json = nlohmann::json::parse(line->json, nullptr, false);
      if (!json.is_object()) continue;
      auto time = json.find("time");
      bool early =
          time == json.end() || !time->is_string() || time->get_ref<const std::string&>() < filter.since;
      if (early) older = true;
      if (early || (!filter.desktop.empty() && !concerns(json, filter.desktop))) continue;
      of_file.emplace_back(line->json);
      if (of_file.size() + records.size() > filter.limit) of_file.pop_front();
    }
    records.insert(records.begin(), std::make_move_iterator(of_file.begin()),
                   std::make_move_iterator(of_file.end()));
    if (older) break;
  }
  return std::vector<std::string>(std::make_move_iterator(records.begin()),
                                  std::make_move_iterator(records.end()));
}

}  // namespace roamstead::audit
