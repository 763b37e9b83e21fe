// roamstead admin-certificate: who may come to the REST interface over TLS, and what they may do there.
#include <fmt/format.h>

#include "common/wire/key_request.h"
#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxRequestFile = 8192;

struct AdministratorArguments {
  RepositoryChoice choice;
  std::string name, role = "viewer", out, request_file, life = "365d", serial;
};

// A PKCS #10 request as PEM; base64 as RFC 4648 has it, in lines of 64 as RFC 7468 wants.
std::string request_pem(const Bytes& der) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string digits;
  for (std::size_t at = 0; at < der.size(); at += 3) {
    std::uint32_t three = 0;
    for (std::size_t i = 0; i < 3; ++i)
      three = three << 8 | (at + i < der.size() ? std::to_integer<std::uint32_t>(der[at + i]) : 0);
    for (std::size_t i = 0; i < 4; ++i)
      digits += at + i > der.size() ? '=' : kDigits[three >> (18 - 6 * i) & 63];
  }
  std::string pem = "-----BEGIN CERTIFICATE REQUEST-----\n";
  for (std::size_t at = 0; at < digits.size(); at += 64) pem += digits.substr(at, 64) + "\n";
  return pem + "-----END CERTIFICATE REQUEST-----\n";
}

// Either the key is made here, or the administrator made it elsewhere and brings a request for it: it never
// comes to the coordinator.
Result<void> create_certificate(const AdministratorArguments& arguments, const Context& context) {
  auto& files = os::real_file_system();
  RS_TRY(auto life, parse_duration_seconds(arguments.life));
  RS_CHECK(files.make_directories(arguments.out));
  for (const char* name : {"key.pem", "cert.pem"}) {
    RS_TRY(bool there, files.exists(os::join_path(arguments.out, name)));
    if (there) return fail(ErrorCode::exists, arguments.out + ": holds an identity already");
  }
  json request{{"command", "administrator.certify"},
               {"administrator", arguments.name},
               {"role", arguments.role},
               {"life_s", life}};
  std::string key_pem;
  if (arguments.request_file.empty()) {
    RS_TRY(auto made, wire::make_key_request(arguments.name));
    key_pem = std::move(made.key_pem);
    request["request_pem"] = request_pem(made.request);
  } else {
    RS_TRY(auto pem, os::read_file(files, arguments.request_file, kMaxRequestFile));
    request["request_pem"] = std::string(as_text(pem));
  }
  RS_TRY(auto issued, run_command(arguments.choice, request, context));
  auto write = [&](const char* name, const std::string& text) {
    return os::write_file_durably(files, os::join_path(arguments.out, name), as_bytes(text));
  };
  const auto revoke =
      "certificate " + json_text(issued, "serial") + " was issued, but not written; revoke it";
  if (!key_pem.empty()) RS_CHECK_CTX(revoke, write("key.pem", key_pem));
  RS_CHECK_CTX(revoke, write("cert.pem", json_text(issued, "certificate_pem")));
  RS_CHECK_CTX(revoke, write("ca.pem", json_text(issued, "ca_pem")));
  issued.erase("certificate_pem");
  issued.erase("ca_pem");
  issued["directory"] = arguments.out;
  context.print(
      issued, fmt::format("{} may come to the REST interface as {} until {}; identity in {}", arguments.name,
                          arguments.role, json_time(issued.value("expires_100ns", json())), arguments.out));
  return {};
}

Result<void> list_certificates(const AdministratorArguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice, {{"command", "administrator.list"}}, context));
  std::vector<std::vector<std::string>> rows{
      {"ADMINISTRATOR", "ROLE", "STATE", "EXPIRES", "CERTIFICATE", "ISSUED BY"}};
  for (const auto& each : json_list(result, "administrators"))
    rows.push_back({json_text(each, "administrator"), json_text(each, "role"), json_text(each, "state"),
                    json_time(each.value("expires_100ns", json())), json_text(each, "serial"),
                    json_text(each, "issued_by")});
  context.print(result, table(rows));
  return {};
}

Result<void> revoke_certificate(const AdministratorArguments& arguments, const Context& context) {
  json request{{"command", "administrator.revoke"}, {"administrator", arguments.name}};
  if (!arguments.serial.empty()) request["serial"] = arguments.serial;
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, arguments.serial.empty() ? "all certificates of " + arguments.name + " revoked"
                                                 : "certificate " + arguments.serial + " revoked");
  return {};
}

}  // namespace

void add_administrator_verbs(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<AdministratorArguments>();
  auto* noun = app.add_subcommand("admin-certificate", "Administrators who come over TLS (REST)");
  noun->require_subcommand(1);

  auto* create = context.verb(*noun, "create", "Issue a certificate to an administrator",
                              [arguments, &context] { return create_certificate(*arguments, context); });
  arguments->choice.add_to(*create);
  create->add_option("name", arguments->name, "The administrator's name, for the audit log")->required();
  create->add_option("--role", arguments->role, "viewer, operator or administrator (default: viewer)");
  create->add_option("--out", arguments->out, "Directory for key.pem, cert.pem and ca.pem")->required();
  create->add_option("--request", arguments->request_file,
                     "A certificate request (PKCS #10 in PEM, P-256) of a key made elsewhere");
  create->add_option("--life", arguments->life, "How long it is good, such as 90d (default: 365d)");

  auto* list = context.verb(*noun, "list", "Certificates that were issued, and their state",
                            [arguments, &context] { return list_certificates(*arguments, context); });
  arguments->choice.add_to(*list);

  auto* revoke = context.verb(*noun, "revoke", "Refuse an administrator's certificates from now on",
                              [arguments, &context] { return revoke_certificate(*arguments, context); });
  arguments->choice.add_to(*revoke);
  revoke->add_option("name", arguments->name, "The administrator's name")->required();
  revoke->add_option("--serial", arguments->serial, "Only the certificate with this serial number");
}

}  // namespace roamstead::cli
