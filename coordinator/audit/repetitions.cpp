#include "coordinator/audit/repetitions.h"

namespace roamstead::audit {

bool Repetitions::admit(const Record& record, const std::string& time, TimePoint now) {
  if (now - window_since_ >= options_.window) {
    window_since_ = now;
    refusals_ = 0;
  }
  bool refusal = record.outcome != Outcome::done;
  auto key = record.what + '\n' + record.who + '\n' + std::string(to_string(record.outcome));
  auto it = keys_.find(key);
  // One that nobody has collected yet is over nevertheless; a new one begins once its summary is written.
  if (it == keys_.end()) {
    if (refusal && refusals_ >= options_.max_refusals) {
      ++unrecorded_;
      return false;
    }
    if (keys_.size() >= kMaxKeys) {
      if (refusal) {
        ++unrecorded_;
        return false;
      }
      return true;
    }
    it = keys_.emplace(key, Counted{now, 0, 0, {}, {}}).first;
  }
  auto& counted = it->second;
  if (counted.written < options_.repeats && (!refusal || refusals_ < options_.max_refusals)) {
    ++counted.written;
    if (refusal) ++refusals_;
    return true;
  }
  ++counted.left_out;
  counted.last = record;
  counted.last_time = time;
  return false;
}

std::vector<Record> Repetitions::collect(TimePoint now, bool everything) {
  std::vector<Record> summaries;
  for (auto it = keys_.begin(); it != keys_.end();) {
    auto& counted = it->second;
    if (!everything && now - counted.since < options_.window) {
      ++it;
      continue;
    }
    if (counted.left_out != 0) {
      auto record = std::move(counted.last);
      record.fields.insert(record.fields.begin(), {{"repeated", std::to_string(counted.left_out)},
                                                   {"last_time", counted.last_time}});
      summaries.push_back(std::move(record));
    }
    it = keys_.erase(it);
  }
  if (unrecorded_ != 0 && (everything || now - window_since_ >= options_.window)) {
    summaries.push_back({"audit.unrecorded",
                         "coordinator",
                         "events of many kinds at once",
                         Outcome::failed,
                         "more events than are written in one window",
                         {{"events", std::to_string(unrecorded_)}}});
    unrecorded_ = 0;
  }
  return summaries;
}

}  // namespace roamstead::audit
