// What `roamstead top` shows: two measurements of a coordinator, what happened between them, and its
// sessions.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace roamstead::cli {

struct Measurement {
  nlohmann::json status;    // of the command status.show
  nlohmann::json sessions;  // of the command session.list: those that are open
};

// Rates per second between the two, and the state at the second.
nlohmann::json top_numbers(const Measurement& before, const Measurement& now);

struct TopLook {
  std::size_t rows = 24;
  std::size_t columns = 80;
  bool color = false;
  std::string note;  // a last line, e.g. why there is nothing newer
};
// At most `rows` lines of at most `columns` characters; escape codes but for colour there are none.
std::string top_text(const nlohmann::json& numbers, const TopLook& look);

}  // namespace roamstead::cli
