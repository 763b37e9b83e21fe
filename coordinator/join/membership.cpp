#include "coordinator/join/membership.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::join {
namespace {

constexpr std::size_t kMaxNetbiosName = 15, kMaxDnsName = 255;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Result<void> check_dns_name(std::string_view name, std::string_view what) {
  if (name.empty() || name.size() > kMaxDnsName || name.front() == '.' || name.back() == '.' ||
      name.find("..") != std::string_view::npos || !is_wtf8(name) ||
      std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) <= ' '; }))
    return fail(ErrorCode::invalid_argument, "\"" + std::string(name.substr(0, kMaxDnsName)) +
                                                 "\" is not the DNS name of a " + std::string(what));
  return {};
}

}  // namespace

Result<void> check_domain(const Domain& domain) {
  RS_CHECK(check_dns_name(domain.dns_name, "domain"));
  RS_CHECK(check_dns_name(domain.dns_forest, "forest"));
  const auto units = to_utf16(domain.netbios_name);
  if (!units || units->empty() || units->size() > kMaxNetbiosName ||
      domain.netbios_name.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "\"" + domain.netbios_name.substr(0, 100) +
                                                 "\" is not a domain's NetBIOS name: 1 to 15 characters");
  if (!domain.sid.is_domain())
    return fail(ErrorCode::invalid_argument,
                domain.sid.to_string() + " is not a domain's SID: S-1-5-21 and three numbers");
  if (domain.guid.is_zero())
    return fail(ErrorCode::invalid_argument, "the domain " + domain.dns_name + " has no GUID");
  return {};
}

Result<void> check_machine_name(std::string_view name) {
  const auto legal = [](char c) { return is_letter(c) || is_digit(c) || c == '-'; };
  if (name.empty() || name.size() > kMaxNetbiosName || !std::all_of(name.begin(), name.end(), legal) ||
      name.front() == '-' || name.back() == '-' || std::all_of(name.begin(), name.end(), is_digit))
    return fail(ErrorCode::invalid_argument,
                "\"" + std::string(name.substr(0, 100)) +
                    "\" cannot be a computer's name: 1 to 15 letters, digits and inner hyphens, not digits "
                    "alone");
  return {};
}

Result<void> check_membership(const Membership& membership) {
  RS_CHECK(check_domain(membership.domain));
  RS_CHECK(check_machine_name(membership.machine_name));
  const auto bytes = membership.machine_password.size();
  // The longest that Windows' interfaces for accounts take is 256 characters.
  if (bytes == 0 || bytes % 2 != 0 || bytes > 512)
    return fail(ErrorCode::invalid_argument, "the password of " + membership.machine_name + " has " +
                                                 std::to_string(bytes) +
                                                 " bytes; 1 to 256 characters of UTF-16 are possible");
  return {};
}

}  // namespace roamstead::join
