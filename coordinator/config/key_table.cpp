#include "coordinator/config/key_table.h"

#include <algorithm>
#include <charconv>

#include "common/base/nearest.h"
#include "coordinator/config/addresses.h"
#include "coordinator/config/units.h"

namespace roamstead::config {
namespace {

using namespace std::chrono_literals;

Result<void> absolute_path(const std::string& text) {
  if (text.empty() || text.front() == '/' || text == "%d" || text.rfind("%d/", 0) == 0) return {};
  return fail(ErrorCode::invalid_argument,
              "'" + text + "' is no absolute path: a service has no place to begin from");
}

Result<void> group_name(const std::string& text) {
  constexpr const char* kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  if (text.size() <= 32 && text.find_first_not_of(kAllowed) == std::string::npos) return {};
  return fail(ErrorCode::invalid_argument, "'" + text + "' is not the name of a group");
}

Result<void> health_address(const std::string& text) {
  return text.empty() ? Result<void>() : check_listen_address(text);
}

Result<void> log_level(const std::string& text) {
  for (const char* each : {"debug", "info", "warning", "error"})
    if (text == each) return {};
  return fail(ErrorCode::invalid_argument, "'" + text + "' is none of debug, info, warning, error");
}

#define RS_IN(member) [](Config& config) -> decltype((config.member)) { return config.member; }

const Key kKeys[] = {
    {"repository.directory", TextKind{RS_IN(repository.directory), absolute_path}, false,
     "The repository's directory, on shared storage"},
    {"repository.state", TextKind{RS_IN(repository.state), absolute_path}, false,
     "The state directory, on a local disk; by default 'state' in the repository's"},
    {"listen.address", TextKind{RS_IN(listen.address), check_listen_address}, false,
     "Address and port to listen on for desktops; port 0: any. A socket that systemd passes comes before it"},
    {"listen.public_address", TextKind{RS_IN(listen.public_address), check_public_address}, false,
     "Host and port that new desktops are told to connect to; by default listen.address"},
    {"listen.names", TextsKind{RS_IN(listen.names), check_host_name}, false,
     "Further DNS names or addresses for the coordinator's certificate"},
    {"tls.authority", TextKind{RS_IN(tls.authority), absolute_path}, false,
     "Directory of the authority's ca-key.pem and ca-cert.pem, '%d' being that of systemd's credentials; by "
     "default 'ca' in the state directory, made when it is missing"},
    {"sessions.lease", DurationKind{RS_IN(sessions.lease), 5s, 1h}, true,
     "Silence after which a desktop's profile may be opened elsewhere"},
    {"sessions.vanished_recovery", DurationKind{RS_IN(sessions.vanished_recovery), 0s, 24h}, false,
     "How often it is looked whether the machines of desktops that vanished are off: then what they did not "
     "send "
     "is read from their disks and kept as forks. 0s: never"},
    {"sessions.hand_over_wait", DurationKind{RS_IN(sessions.hand_over_wait), 0s, 10min}, true,
     "How long a desktop that wants a profile waits for the one that has it to send its changes"},
    {"limits.connections", CountKind{RS_IN(limits.connections), 1, 100'000}, true,
     "Desktops' connections in all"},
    {"limits.connections_per_desktop", CountKind{RS_IN(limits.connections_per_desktop), 1, 1000}, true,
     "Connections of one desktop"},
    {"limits.handshakes", CountKind{RS_IN(limits.handshakes), 1, 10'000}, true,
     "Connections that are not yet known to be desktops'"},
    {"limits.in_flight", SizeKind{RS_IN(limits.flight_bytes), 16ull << 20, 1ull << 40}, true,
     "Memory for requests, answers and parts of batches under way, all together; beyond it nothing more is "
     "read"},
    {"limits.in_flight_per_desktop", SizeKind{RS_IN(limits.flight_per_desktop_bytes), 4ull << 20, 1ull << 40},
     true, "The part of it that one desktop may take"},
    {"limits.requests_per_second", CountKind{RS_IN(limits.requests_per_second), 10, 1'000'000}, true,
     "Requests of one desktop; who asks more is read more slowly. For desktops that connect from then on"},
    {"limits.requests_at_once", CountKind{RS_IN(limits.requests_at_once), 10, 10'000'000}, true,
     "Requests that one desktop may ask before that counts. For desktops that connect from then on"},
    {"limits.enrolments_per_minute", CountKind{RS_IN(limits.enrolments_per_minute), 1, 1'000'000}, true,
     "Enrolments by token from one address; of IPv6, from one network"},
    {"limits.enrolments_at_once", CountKind{RS_IN(limits.enrolments_at_once), 1, 1'000'000}, true,
     "Enrolments from one address before that counts"},
    {"limits.all_enrolments_per_minute", CountKind{RS_IN(limits.all_enrolments_per_minute), 1, 1'000'000},
     true, "Enrolments by token from all addresses"},
    {"limits.all_enrolments_at_once", CountKind{RS_IN(limits.all_enrolments_at_once), 1, 1'000'000}, true,
     "Enrolments from all addresses before that counts"},
    {"limits.spool", SizeKind{RS_IN(limits.spool_bytes), 16ull << 20, 1ull << 50}, false,
     "Room for batches on their way, all together"},
    {"limits.spool_per_desktop", SizeKind{RS_IN(limits.spool_per_desktop_bytes), 16ull << 20, 1ull << 50},
     false, "The part of it that one desktop may take"},
    {"limits.handshake_timeout", DurationKind{RS_IN(limits.handshake_timeout), 100ms, 10min}, true,
     "Time for a TLS handshake"},
    {"limits.stall_timeout", DurationKind{RS_IN(limits.stall_timeout), 100ms, 1h}, true,
     "Time in which a frame that has begun must make progress"},
    {"limits.idle_timeout", DurationKind{RS_IN(limits.idle_timeout), 1s, 24h}, true,
     "Silence after which a connection is closed"},
    {"limits.request_threads", CountKind{RS_IN(limits.request_threads), 1, 256}, false,
     "Threads for desktops' requests"},
    {"limits.commit_threads", CountKind{RS_IN(limits.commit_threads), 1, 256}, false,
     "Threads for commits; they wait for storage and share its flushes"},
    {"admin.socket", TextKind{RS_IN(admin.socket), absolute_path}, false,
     "The administrators' socket; by default 'admin.sock' in the state directory, where only root and the "
     "coordinator's user come"},
    {"admin.viewers", TextKind{RS_IN(admin.viewers), group_name}, false,
     "Group of the system whose members may look, e.g. roamstead-viewers; by default nobody's"},
    {"admin.operators", TextKind{RS_IN(admin.operators), group_name}, false,
     "Group whose members may also assign profiles and deal with sessions, e.g. roamstead-operators"},
    {"admin.administrators", TextKind{RS_IN(admin.administrators), group_name}, false,
     "Group whose members may do everything, as root may, e.g. roamstead-admins"},
    {"health.listen", TextKind{RS_IN(health.listen), health_address}, false,
     "Address and port where monitoring gets /livez, /readyz and /metrics over plain HTTP; by default "
     "nowhere"},
    {"rest.listen", TextKind{RS_IN(rest.listen), health_address}, false,
     "Address and port of the REST interface, over TLS, for administrators with certificates of 'roamstead "
     "admin-certificate'; by default nowhere"},
    {"rest.connections", CountKind{RS_IN(rest.connections), 1, 10'000}, false,
     "Connections over REST, each with a thread of its own"},
    {"rest.connections_per_client", CountKind{RS_IN(rest.connections_per_client), 1, 10'000}, false,
     "Connections over REST of one certificate"},
    {"rest.idle_timeout", DurationKind{RS_IN(rest.idle_timeout), 1s, 1h}, false,
     "Silence after which a connection over REST is closed"},
    {"rest.request_timeout", DurationKind{RS_IN(rest.request_timeout), 100ms, 10min}, false,
     "Time for a request over REST to come whole"},
    {"log.level", TextKind{RS_IN(log.level), log_level}, true,
     "The least that is logged: debug, info, warning or error"},
    {"service.drain_timeout", DurationKind{RS_IN(service.drain_timeout), 0s, 10min}, true,
     "How long what is being committed is waited for when the coordinator is told to end"},
};

#undef RS_IN

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

template <class Kind, class Value>
Result<void> check_range(const Kind& kind, Value value, std::string (*text_of)(Value)) {
  if (value >= kind.least && value <= kind.most) return {};
  return fail(ErrorCode::invalid_argument,
              text_of(value) + " is out of range: " + text_of(kind.least) + " to " + text_of(kind.most));
}

std::string count_text(std::uint64_t count) { return std::to_string(count); }

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr char kDigits[] = "0123456789ABCDEF";
      result += std::string("\\u00") + kDigits[byte >> 4] + kDigits[byte & 15];
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string joined(const std::vector<std::string>& parts) {
  std::string result;
  for (const auto& part : parts) result += (result.empty() ? "" : ", ") + part;
  return result;
}

constexpr std::size_t kLongestName =
    64;  // beyond it nothing is compared: it would cost more than it is worth

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

}  // namespace

std::span<const Key> keys() { return kKeys; }

const Key* find_key(std::string_view name) {
  for (const auto& key : kKeys)
    if (key.name == name) return &key;
  return nullptr;
}

std::string nearest_key(std::string_view name) {
  if (name.size() > kLongestName) return "";
  const Key* nearest = nullptr;
  std::size_t least = 0;
  for (const auto& key : kKeys) {
    // The right key in the wrong section is near, too.
    auto distance =
        std::min(edit_distance(name, key.name), edit_distance(last_part(name), last_part(key.name)) + 1);
    if (nearest != nullptr && distance >= least) continue;
    nearest = &key;
    least = distance;
  }
  auto tolerated = std::max<std::size_t>(2, last_part(name).size() / 3);
  return least <= tolerated ? std::string(nearest->name) : "";
}

std::string nearest_section(std::string_view name) {
  std::string_view nearest;
  std::size_t least = std::max<std::size_t>(2, name.size() / 3) + 1;
  if (name.size() > kLongestName) return "";
  for (const auto& key : kKeys) {
    auto section = key.name.substr(0, key.name.find('.'));
    auto distance = edit_distance(name, section);
    if (distance >= least) continue;
    nearest = section;
    least = distance;
  }
  return std::string(nearest);
}

Result<void> set_text(Config& config, const Key& key, const std::string& text) {
  auto set = Overloaded{[&](const TextKind& kind) -> Result<void> {
                          RS_CHECK(kind.check(text));
                          kind.in(config) = text;
                          return {};
                        },
                        [&](const DurationKind& kind) -> Result<void> {
                          RS_TRY(auto value, parse_duration(text));
                          RS_CHECK(check_range(kind, value, duration_text));
                          kind.in(config) = value;
                          return {};
                        },
                        [&](const SizeKind& kind) -> Result<void> {
                          RS_TRY(auto value, parse_size(text));
                          RS_CHECK(check_range(kind, value, size_text));
                          kind.in(config) = value;
                          return {};
                        },
                        [&](const auto&) -> Result<void> {
                          return fail(ErrorCode::invalid_argument,
                                      "expected " + expectation(key) + ", found a text");
                        }};
  return std::visit(set, key.kind);
}

Result<void> set_texts(Config& config, const TextsKind& kind, std::vector<std::string> texts) {
  for (const auto& text : texts) RS_CHECK(kind.check(text));
  kind.in(config) = std::move(texts);
  return {};
}

Result<void> set_count(Config& config, const CountKind& kind, std::uint64_t count) {
  RS_CHECK(check_range(kind, count, count_text));
  kind.in(config) = count;
  return {};
}

Result<void> set_from_text(Config& config, const Key& key, const std::string& text) {
  if (const auto* kind = std::get_if<CountKind>(&key.kind)) {
    std::uint64_t count = 0;
    auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (failure != std::errc() || end != text.data() + text.size())
      return fail(ErrorCode::invalid_argument, "expected " + expectation(key) + ", found '" + text + "'");
    return set_count(config, *kind, count);
  }
  if (const auto* kind = std::get_if<TextsKind>(&key.kind)) {
    std::vector<std::string> texts;
    for (std::size_t at = 0; at < text.size();) {
      auto comma = std::min(text.find(',', at), text.size());
      texts.push_back(text.substr(at, comma - at));
      at = comma + 1;
    }
    return set_texts(config, *kind, std::move(texts));
  }
  return set_text(config, key, text);
}

void copy_value(Config& to, const Config& from, const Key& key) {
  auto& values = const_cast<Config&>(from);  // read only: the table has one accessor for both
  std::visit([&](const auto& kind) { kind.in(to) = kind.in(values); }, key.kind);
}

std::string plain_text(const Config& config, const Key& key) {
  auto& values = const_cast<Config&>(config);  // read only: the table has one accessor for both
  return std::visit(Overloaded{[&](const TextKind& kind) { return kind.in(values); },
                               [&](const TextsKind& kind) { return joined(kind.in(values)); },
                               [&](const DurationKind& kind) { return duration_text(kind.in(values)); },
                               [&](const SizeKind& kind) { return size_text(kind.in(values)); },
                               [&](const CountKind& kind) { return count_text(kind.in(values)); }},
                    key.kind);
}

std::string toml_text(const Config& config, const Key& key) {
  if (std::holds_alternative<CountKind>(key.kind)) return plain_text(config, key);
  if (const auto* kind = std::get_if<TextsKind>(&key.kind)) {
    std::vector<std::string> parts;
    for (const auto& text : kind->in(const_cast<Config&>(config))) parts.push_back(quoted(text));
    return "[" + joined(parts) + "]";
  }
  return quoted(plain_text(config, key));
}

std::string expectation(const Key& key) {
  return std::visit(
      Overloaded{[](const TextKind&) -> std::string { return "a text in quotes"; },
                 [](const TextsKind&) -> std::string { return "a list of texts such as [\"a\", \"b\"]"; },
                 [](const DurationKind&) -> std::string { return "a duration in quotes such as \"30s\""; },
                 [](const SizeKind&) -> std::string { return "a size in quotes such as \"64GiB\""; },
                 [](const CountKind& kind) {
                   return "a whole number from " + count_text(kind.least) + " to " + count_text(kind.most);
                 }},
      key.kind);
}

}  // namespace roamstead::config
