// Registry values in a verb's JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/base/bytes.h"

namespace roamstead::cli {

inline constexpr std::size_t kShownValueBytes = 64;  // of a value's data in a listing

// Text where the type says so and the bytes are it, a number, else hexadecimal digits.
nlohmann::json data_json(std::uint32_t type, ByteView data);
// Name, type, size and data.
nlohmann::json value_json(const std::string& name, std::uint32_t type, ByteView data);

}  // namespace roamstead::cli
