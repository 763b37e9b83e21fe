// The format of the audit log's files (docs/format-audit.md): one line for each record,
//   HASH JSON\n      HASH: 64 hexadecimal digits, SHA-256 of the 32 bytes of the hash before and the JSON
//   text
// where JSON is an object whose "seq" is one more than that of the line before, across files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/os/file.h"
#include "coordinator/audit/audit_log.h"

namespace roamstead::audit {

// No line of ours is longer: texts are cut, and escaped take six bytes for one at most.
inline constexpr std::size_t kMaxLineBytes = 512u << 10;
// Far beyond what a file may be rotated at; what is longer is not ours.
inline constexpr std::uint64_t kMaxFileBytes = 256u << 20;

std::string file_name(std::uint64_t number);
// By number; what is not named like a file of the log is left out.
Result<std::vector<std::uint64_t>> list_files(os::FileSystem& files, const std::string& directory);

// Bytes that are not whole records of the chain, at a file's end: a write that a crash cut.
struct Torn {
  std::uint64_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  Sha256Digest hash{};
  bool operator==(const Torn&) const = default;
};

// The first record of every file.
struct FileBegin {
  std::uint64_t number = 0;
  Head previous;                 // what the file's chain goes on from
  std::vector<Torn> torn;        // of the files before, not noted until now
  std::optional<Head> expected;  // set when records that were durable are gone: the head that was noted
};

struct Line {
  Sha256Digest hash;
  std::string_view json;
};
// Splits a line without its end; nothing when it is none of ours.
std::optional<Line> parse_line(std::string_view line);
Sha256Digest chain_hash(const Sha256Digest& previous, std::string_view json);
std::string to_hex(const Sha256Digest& digest);
std::optional<Sha256Digest> from_hex(std::string_view hex);

// Lines with their end; `head` moves on. `time` is ISO 8601, UTC.
std::string record_line(const Record& record, const std::string& time, Head& head);
std::string begin_line(const FileBegin& begin, const std::string& time, Head& head);
std::optional<FileBegin> parse_begin(std::string_view json);

std::string time_text();  // now: "2026-01-31T12:00:00.000Z"

// Goes through a file's lines as long as they continue the chain.
struct Scan {
  Head head;                     // after the last line that does
  std::uint64_t lines = 0;       // so many do
  std::uint64_t good_bytes = 0;  // where the first that does not begins; the file's size when all do
  std::string problem;           // what is wrong there; empty when nothing is
};
// `from` nothing: what the first line says is believed. `each` may be empty; it gets each good line's record
// number, hash and JSON.
Scan scan(ByteView content, std::optional<Head> from,
          const std::function<void(const Head&, std::string_view)>& each);

}  // namespace roamstead::audit
