// Administrators who come in over TLS: their certificates.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLifeUnit_100ns = 10'000'000;
constexpr std::uint64_t kCertificateDay_s = 24 * 3600;
constexpr std::uint64_t kDefaultCertificateLife_s = 365 * kCertificateDay_s;
constexpr std::uint64_t kMaxCertificateLife_s = 2 * 365 * kCertificateDay_s;
constexpr std::size_t kMaxRequestPem = 8192;

// The bytes of "-----BEGIN CERTIFICATE REQUEST-----"; what they are is for the authority to judge.
Result<Bytes> request_in(const std::string& pem) {
  if (pem.size() > kMaxRequestPem)
    return fail(ErrorCode::invalid_argument, "the certificate request is too large");
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                BIO_free);
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  const bool read = bio && PEM_read_bio(bio.get(), &name, &header, &data, &size) == 1;
  ERR_clear_error();
  Bytes request;
  const bool good = read && (std::string_view(name) == PEM_STRING_X509_REQ ||
                             std::string_view(name) == PEM_STRING_X509_REQ_OLD);
  if (good) request.assign(reinterpret_cast<std::byte*>(data), reinterpret_cast<std::byte*>(data) + size);
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(data);
  if (!good) return fail(ErrorCode::invalid_argument, "'request_pem' is no certificate request in PEM");
  return request;
}

Result<json> certify_administrator(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "administrator"));
  RS_TRY(auto role, text_field(call.request, "role"));
  RS_TRY(auto pem, text_field(call.request, "request_pem"));
  RS_TRY(auto life, number_field_or(call.request, "life_s", kDefaultCertificateLife_s));
  if (!parse_role(role))
    return fail(ErrorCode::invalid_argument, "'" + role + "' is none of viewer, operator, administrator");
  if (life == 0 || life > kMaxCertificateLife_s)
    return fail(ErrorCode::invalid_argument,
                "a certificate lives 1 to " + std::to_string(kMaxCertificateLife_s) + " seconds (two years)");
  RS_TRY(auto request, request_in(pem));
  RS_TRY(auto issued, call.context.authority.issue_administrator(name, request, std::chrono::seconds(life)));
  const auto now = now_100ns();
  RS_CHECK(call.context.store.add_administrator(
      {name, issued.serial, role, now, now + life * kLifeUnit_100ns, 0, call.caller.name}));
  log_info("administrator '{}' has a certificate, {}, with the role {}", name, issued.serial, role);
  return json{{"administrator", name},
              {"role", role},
              {"serial", issued.serial},
              {"expires_100ns", now + life * kLifeUnit_100ns},
              {"certificate_pem", issued.certificate_pem},
              {"ca_pem", call.context.authority.certificate_pem()}};
}

Result<json> list_administrators(const Invocation& call) {
  RS_TRY(auto administrators, call.context.store.administrators());
  const auto now = now_100ns();
  auto all = json::array();
  for (const auto& each : administrators)
    all.push_back({{"administrator", each.name},
                   {"serial", each.serial},
                   {"role", each.role},
                   {"issued_100ns", each.issued_100ns},
                   {"expires_100ns", each.expires_100ns},
                   {"issued_by", each.issued_by},
                   {"state", each.revoked_100ns != 0     ? "revoked"
                             : now >= each.expires_100ns ? "expired"
                                                         : "good"}});
  return json{{"administrators", all}};
}

Result<json> revoke_administrator(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "administrator"));
  RS_TRY(auto serial, text_field_or(call.request, "serial", ""));
  RS_CHECK(call.context.store.revoke_administrator(name, serial, now_100ns()));
  log_info("administrator '{}': {} revoked", name, serial.empty() ? "all certificates" : serial);
  return json{{"administrator", name}, {"revoked", true}};
}

}  // namespace

void add_administrator_commands(CommandTable& table) {
  table.add({"administrator.certify",
             Role::administrator,
             certify_administrator,
             {"administrator", "role", "life_s"}});
  table.add({"administrator.list", Role::viewer, list_administrators, {}});
  table.add({"administrator.revoke", Role::administrator, revoke_administrator, {"administrator", "serial"}});
}

}  // namespace roamstead::server
