#include "coordinator/config/addresses.h"

#include <arpa/inet.h>

#include <algorithm>

#include "common/base/host_port.h"

namespace roamstead::config {
namespace {

bool is_numeric(const std::string& host, int family) {
  in6_addr room{};
  return ::inet_pton(family, host.c_str(), &room) == 1;
}

}  // namespace

Result<void> check_listen_address(const std::string& text) {
  const auto parts = parse_host_port(text);
  if (parts && (is_numeric(parts->host, AF_INET) || is_numeric(parts->host, AF_INET6))) return {};
  return fail(ErrorCode::invalid_argument,
              "'" + text + "' is not an address to listen on, such as \"127.0.0.1:7420\" or \"[::]:7420\"");
}

Result<void> check_public_address(const std::string& text) {
  if (text.empty()) return {};
  if (const auto parts = parse_host_port(text); parts && check_host_name(parts->host)) return {};
  return fail(
      ErrorCode::invalid_argument,
      "'" + text + "' is not where desktops could connect to, such as \"roamstead.example.org:7420\"");
}

Result<void> check_host_name(const std::string& text) {
  if (is_numeric(text, AF_INET) || is_numeric(text, AF_INET6)) return {};
  constexpr std::size_t kLongestName = 253;  // RFC 1035, 2.3.4, as text
  constexpr std::size_t kLongestLabel = 63;
  bool good = !text.empty() && text.size() <= kLongestName;
  for (std::size_t at = 0; good && at <= text.size();) {
    auto dot = std::min(text.find('.', at), text.size());
    auto label = text.substr(at, dot - at);
    good = !label.empty() && label.size() <= kLongestLabel && label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(), [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
           });
    at = dot + 1;
  }
  if (good) return {};
  return fail(ErrorCode::invalid_argument, "'" + text + "' is neither a DNS name nor an address");
}

}  // namespace roamstead::config
