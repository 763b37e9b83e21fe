#include "coordinator/audit/audit_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace roamstead::audit {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kPrefix = "audit-";
constexpr std::string_view kSuffix = ".log";
constexpr std::size_t kHashDigits = 64;
constexpr const char* kBeginName = "audit.file";

std::string shortened(const std::string& text) { return text.substr(0, kMaxTextBytes); }

std::string chained(const ordered_json& json, Head& head) {
  auto text = json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  head.hash = chain_hash(head.hash, text);
  ++head.sequence;
  return to_hex(head.hash) + " " + text + "\n";
}

std::optional<std::uint64_t> number_of(const nlohmann::json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

std::optional<Sha256Digest> digest_in(const nlohmann::json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return from_hex(found->get_ref<const std::string&>());
}

std::optional<Head> head_in(const nlohmann::json& object, const char* number, const char* hash) {
  auto sequence = number_of(object, number);
  auto digest = digest_in(object, hash);
  if (!sequence || !digest) return std::nullopt;
  return Head{*sequence, *digest};
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::done:
      return "done";
    case Outcome::refused:
      return "refused";
    case Outcome::failed:
      break;
  }
  return "failed";
}

std::string file_name(std::uint64_t number) { return fmt::format("{}{:08}{}", kPrefix, number, kSuffix); }

Result<std::vector<std::uint64_t>> list_files(os::FileSystem& files, const std::string& directory) {
  RS_TRY(auto names, files.list_directory(directory));
  std::vector<std::uint64_t> numbers;
  for (const auto& name : names) {
    std::string_view view(name);
    if (!view.starts_with(kPrefix) || !view.ends_with(kSuffix)) continue;
    auto digits = view.substr(kPrefix.size(), view.size() - kPrefix.size() - kSuffix.size());
    bool number = !digits.empty() && digits.size() <= 12 &&
                  digits.find_first_not_of("0123456789") == std::string_view::npos;
    if (number && file_name(std::stoull(std::string(digits))) == name)
      numbers.push_back(std::stoull(std::string(digits)));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string to_hex(const Sha256Digest& digest) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (auto byte : digest) {
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return hex;
}

std::optional<Sha256Digest> from_hex(std::string_view hex) {
  if (hex.size() != kHashDigits) return std::nullopt;
  auto value = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  Sha256Digest digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    auto high = value(hex[2 * i]);
    auto low = value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest[i] = static_cast<std::byte>(high * 16 + low);
  }
  return digest;
}

Sha256Digest chain_hash(const Sha256Digest& previous, std::string_view json) {
  Bytes input(previous.begin(), previous.end());
  auto text = as_bytes(json);
  input.insert(input.end(), text.begin(), text.end());
  return sha256(input);
}

std::optional<Line> parse_line(std::string_view line) {
  if (line.size() < kHashDigits + 3 || line.size() > kMaxLineBytes || line[kHashDigits] != ' ')
    return std::nullopt;
  auto hash = from_hex(line.substr(0, kHashDigits));
  if (!hash) return std::nullopt;
  return Line{*hash, line.substr(kHashDigits + 1)};
}

std::string time_text() {
  auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), (now - seconds).count());
}

std::string record_line(const Record& record, const std::string& time, Head& head) {
  ordered_json json;
  json["seq"] = head.sequence + 1;
  json["time"] = time;
  json["what"] = shortened(record.what);
  json["who"] = shortened(record.who);
  json["about"] = shortened(record.about);
  json["outcome"] = to_string(record.outcome);
  if (!record.reason.empty()) json["reason"] = shortened(record.reason);
  auto fields = ordered_json::object();
  for (const auto& [name, value] : record.fields) {
    if (fields.size() >= kMaxFields) break;
    fields[shortened(name)] = shortened(value);
  }
  json["fields"] = std::move(fields);
  return chained(json, head);
}

std::string begin_line(const FileBegin& begin, const std::string& time, Head& head) {
  head = begin.previous;
  ordered_json json;
  json["seq"] = head.sequence + 1;
  json["time"] = time;
  json["what"] = kBeginName;
  json["who"] = "coordinator";
  json["about"] = "file " + std::to_string(begin.number);
  json["outcome"] = "done";
  json["file"] = begin.number;
  json["previous"] = to_hex(begin.previous.hash);
  auto torn = ordered_json::array();
  for (const auto& each : begin.torn)
    torn.push_back(
        {{"file", each.file}, {"offset", each.offset}, {"bytes", each.bytes}, {"sha256", to_hex(each.hash)}});
  if (!torn.empty()) json["torn"] = std::move(torn);
  if (begin.expected)
    json["expected"] = {{"seq", begin.expected->sequence}, {"hash", to_hex(begin.expected->hash)}};
  return chained(json, head);
}

std::optional<FileBegin> parse_begin(std::string_view text) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("what") || json["what"] != kBeginName) return std::nullopt;
  auto number = number_of(json, "file");
  auto previous = head_in(json, "seq", "previous");
  if (!number || !previous || previous->sequence == 0) return std::nullopt;
  --previous->sequence;
  FileBegin begin{*number, *previous, {}, {}};
  if (auto torn = json.find("torn"); torn != json.end()) {
    if (!torn->is_array()) return std::nullopt;
    for (const auto& each : *torn) {
      if (!each.is_object()) return std::nullopt;
      auto file = number_of(each, "file");
      auto offset = number_of(each, "offset");
      auto bytes = number_of(each, "bytes");
      auto hash = digest_in(each, "sha256");
      if (!file || !offset || !bytes || !hash) return std::nullopt;
      begin.torn.push_back({*file, *offset, *bytes, *hash});
    }
  }
  if (auto expected = json.find("expected"); expected != json.end()) {
    if (expected->is_object()) begin.expected = head_in(*expected, "seq", "hash");
    if (!begin.expected) return std::nullopt;
  }
  return begin;
}

Scan scan(ByteView content, std::optional<Head> from,
          const std::function<void(const Head&, std::string_view)>& each) {
  Scan result;
  if (from) result.head = *from;
  auto text = as_text(content);
  while (result.good_bytes < text.size()) {
    auto end = text.find('\n', static_cast<std::size_t>(result.good_bytes));
    if (end == std::string_view::npos) {
      result.problem = "the last line has no end";
      return result;
    }
    auto line = parse_line(text.substr(static_cast<std::size_t>(result.good_bytes),
                                       end - static_cast<std::size_t>(result.good_bytes)));
    if (!line) {
      result.problem = "this is not a line of an audit log";
      return result;
    }
    if (result.lines == 0) {
      auto begin = parse_begin(line->json);
      if (!begin) {
        result.problem = "the file does not begin with its own record";
        return result;
      }
      if (!from) result.head = begin->previous;
    }
    if (chain_hash(result.head.hash, line->json) != line->hash) {
      result.problem = "the hash is not that of this record after the one before";
      return result;
    }
    auto json = nlohmann::json::parse(line->json, nullptr, false);
    auto sequence = json.is_object() ? number_of(json, "seq") : std::nullopt;
    if (!sequence || *sequence != result.head.sequence + 1) {
      result.problem = "the record's number is not " + std::to_string(result.head.sequence + 1);
      return result;
    }
    result.head = {*sequence, line->hash};
    ++result.lines;
    result.good_bytes = end + 1;
    if (each) each(result.head, line->json);
  }
  return result;
}

}  // namespace roamstead::audit
