// Settings as a coordinator sends them and an agent keeps them: names and values as text, a number in decimal
// digits. What comes over the network is bounded before anything looks at it (check_sent_size); whether a
// name may come from a coordinator at all, and its value, is looked at by whoever takes it (check_sent).
#pragma once

#include "common/base/bytes.h"
#include "common/settings/setting_table.h"

namespace roamstead::settings {

struct SentSetting {
  std::string name;
  std::string value;

  bool operator==(const SentSetting&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, value);
  }
};
using SentSettings = std::vector<SentSetting>;

inline constexpr std::size_t kMostSentSettings = 64;
inline constexpr std::size_t kMostSentBytes = 256;  // of a name, of a value

// ErrorCode::protocol for more or longer ones than any coordinator sends, and for other names than of ASCII
// letters and digits.
Result<void> check_sent_size(const SentSettings& sent);

// "12" and nothing else: no sign, no blank, no hexadecimal digits.
Result<std::uint64_t> parse_number(std::string_view digits);

// A setting that a coordinator may send, with a value that it may have. ErrorCode::not_found, denied,
// invalid_argument; the message does not name the setting.
Result<const Setting*> check_sent(const SentSetting& sent);

// What an agent keeps of the last settings it was sent (docs/agent.md, Files): a line "NAME=VALUE" for each
// below "roamstead agent settings 1". Control characters are in no value that check_sent takes, so a line is
// a line; what it does not take is not written.
Bytes encode_sent(const SentSettings& sent);
// ErrorCode::corrupt. What comes back may still be nothing that check_sent takes.
Result<SentSettings> decode_sent(ByteView file);
inline constexpr std::size_t kMostSentFileBytes = 64u << 10;

}  // namespace roamstead::settings
