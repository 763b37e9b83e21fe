#include "coordinator/cli/top_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/text.h"
#include "coordinator/cli/json_text.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr double kSecond_100ns = 1e7;

// Of one name: with a label of that value, or of all labels together.
double metric(const Measurement& at, const std::string& name, const std::string& label = "") {
  double sum = 0;
  for (const auto& each : json_list(at.status, "metrics")) {
    if (json_text(each, "name") != name) continue;
    bool wanted = label.empty();
    for (const auto& own : json_list(each, "labels")) wanted = wanted || json_text(own, "value") == label;
    if (wanted) sum += each.value("value", 0.0);
  }
  return sum;
}

class Difference {
 public:
  Difference(const Measurement& before, const Measurement& now)
      : before_(before),
        now_(now),
        seconds_(std::max(1e-3, (time_of(now) - time_of(before)) / kSecond_100ns)) {}

  double seconds() const { return seconds_; }
  // A coordinator that was started again counts from 0: nothing is known of the time between.
  double rate(const std::string& name, const std::string& label = "") const {
    return std::max(0.0, metric(now_, name, label) - metric(before_, name, label)) / seconds_;
  }
  // Of what ended in between; 0 when nothing did.
  double mean_ms(const std::string& name, const std::string& label = "") const {
    const auto count = rate(name + "_count", label);
    return count > 0 ? rate(name + "_sum", label) / count * 1000 : 0;
  }
  json work(const std::string& name, const std::string& label = "") const {
    return {{"per_second", rate(name + "_count", label)}, {"mean_ms", mean_ms(name, label)}};
  }

 private:
  static double time_of(const Measurement& at) { return at.status.value("measured_100ns", 0.0); }

  const Measurement& before_;
  const Measurement& now_;
  double seconds_;
};

std::string clipped(const std::string& line, std::size_t columns) {
  auto units = to_utf16(line);
  if (!units) return line.substr(0, columns);
  // Characters that move the cursor would let a name draw over the rest.
  for (auto& unit : *units)
    if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) unit = u'?';
  if (units->size() > columns) units->resize(columns);
  return to_wtf8(*units);
}

std::string rate_text(double value) {
  return value >= 100 || value == 0 ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}", value);
}

std::string work_line(const char* title, const json& work) {
  const auto rate = work.value("per_second", 0.0);
  auto text = fmt::format("  {:<12} {:>8}/s", title, rate_text(rate));
  if (rate > 0) text += fmt::format("  {:>9.2f} ms", work.value("mean_ms", 0.0));
  if (work.contains("bytes_per_second"))
    text += fmt::format("  {:>12}/s",
                        human_bytes(static_cast<std::uint64_t>(work.value("bytes_per_second", 0.0))));
  return text;
}

std::vector<std::string> session_lines(const json& numbers) {
  std::vector<std::vector<std::string>> rows{
      {"PROFILE", "DESKTOP", "MODE", "STATE", "LEASE", "SAVED", "SINCE"}};
  for (const auto& session : json_list(numbers, "open_sessions")) {
    std::string state = session.value("vanished", false)    ? "vanished"
                        : session.value("connected", false) ? "connected"
                                                            : "away";
    if (auto wanted = json_text(session, "wanted_by"); !wanted.empty()) state += ", wanted by " + wanted;
    rows.push_back({json_text(session, "profile"), json_text(session, "desktop"), json_text(session, "mode"),
                    state, fmt::format("{:.0f} s", session.value("lease_seconds_left", 0.0)),
                    json_text(session, "last_version"), json_time(session.value("opened_100ns", json()))});
  }
  std::vector<std::string> lines;
  const auto text = table(rows);
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

}  // namespace

json top_numbers(const Measurement& before, const Measurement& now) {
  const Difference between(before, now);
  json numbers{{"seconds", between.seconds()},
               {"measured_100ns", now.status.value("measured_100ns", json())},
               {"connections", metric(now, "roamstead_connections")},
               {"sessions",
                {{"held", metric(now, "roamstead_sessions", "held")},
                 {"silent", metric(now, "roamstead_sessions", "silent")}}},
               {"backlog_bytes", metric(now, "roamstead_spooled_bytes")},
               {"forks",
                {{"per_second", between.rate("roamstead_batches_total", "fork")},
                 {"since_start", metric(now, "roamstead_batches_total", "fork")}}},
               {"open_sessions", json_list(now.sessions, "sessions")}};
  auto& opens = numbers["log_ins"];
  opens["alone"] = between.work("roamstead_open_seconds", "alone");
  opens["hand_over"] = between.work("roamstead_open_seconds", "hand_over");
  opens["refused_per_second"] = between.rate("roamstead_openings_total", "refused");
  for (const char* kind : {"directory", "content", "many", "keys", "value"}) {
    auto& load = numbers["loads"][kind];
    load = between.work("roamstead_fetch_seconds", kind);
    load["bytes_per_second"] = between.rate("roamstead_fetched_bytes_total", kind);
  }
  auto& commits = numbers["commits"];
  commits = between.work("roamstead_commit_seconds");
  commits["bytes_per_second"] = between.rate("roamstead_batch_bytes_total");
  commits["failed_per_second"] = between.rate("roamstead_batches_total", "failed");
  return numbers;
}

std::string top_text(const json& numbers, const TopLook& look) {
  struct Line {
    std::string text;
    bool title = false;
    bool warning = false;
  };
  std::vector<Line> lines;
  auto number = [](const json& object, const char* name) { return object.value(name, 0.0); };
  const auto& sessions = numbers.at("sessions");
  const auto& opens = numbers.at("log_ins");
  const auto& commits = numbers.at("commits");
  const auto silent = number(sessions, "silent");
  lines.push_back({"roamstead  " + json_time(numbers.value("measured_100ns", json())) +
                       fmt::format("  over {:.1f} s", number(numbers, "seconds")),
                   true, false});
  lines.push_back(
      {fmt::format("sessions {:.0f} held, {:.0f} silent   connections {:.0f}   backlog {}   forks {:.0f}",
                   number(sessions, "held"), silent, number(numbers, "connections"),
                   human_bytes(static_cast<std::uint64_t>(number(numbers, "backlog_bytes"))),
                   number(numbers.at("forks"), "since_start")),
       false, silent > 0});
  lines.push_back({"log-ins", true, false});
  lines.push_back({work_line("alone", opens.at("alone")), false, false});
  lines.push_back({work_line("hand-over", opens.at("hand_over")), false, false});
  const auto refused = number(opens, "refused_per_second");
  lines.push_back({fmt::format("  {:<12} {:>8}/s", "refused", rate_text(refused)), false, refused > 0});
  lines.push_back({"loads", true, false});
  for (const auto& [kind, load] : numbers.at("loads").items())
    lines.push_back({work_line(kind.c_str(), load), false, false});
  lines.push_back({"commits", true, false});
  lines.push_back({work_line("all", commits), false, false});
  const auto forked = number(numbers.at("forks"), "per_second"),
             failed = number(commits, "failed_per_second");
  lines.push_back({fmt::format("  {:<12} {:>8}/s", "forks", rate_text(forked)), false, forked > 0});
  lines.push_back({fmt::format("  {:<12} {:>8}/s", "failed", rate_text(failed)), false, failed > 0});
  bool first = true;
  for (auto& line : session_lines(numbers)) {
    lines.push_back({std::move(line), first, false});
    first = false;
  }
  const std::size_t kept = look.rows - (look.note.empty() ? 0 : 1);
  if (lines.size() > kept) {
    const auto hidden = lines.size() - kept + 1;
    lines.resize(kept);
    if (kept > 0) lines.back() = {fmt::format("... {} more lines", hidden), false, false};
  }
  if (!look.note.empty()) lines.push_back({look.note, false, true});
  std::string text;
  for (const auto& line : lines) {
    const char* color = !look.color ? "" : line.warning ? "\033[33m" : line.title ? "\033[1m" : "";
    text += color + clipped(line.text, look.columns) + (*color != '\0' ? "\033[0m" : "") + "\n";
  }
  return text;
}

}  // namespace roamstead::cli
