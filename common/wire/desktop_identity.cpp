#include <nlohmann/json.hpp>

#include "common/wire/key_request.h"
#include "common/wire/tls_link.h"

namespace roamstead::wire {
namespace {

constexpr std::uint64_t kMaxFileBytes = 64u << 10;

Result<std::string> read_text(os::FileSystem& files, const std::string& directory, const std::string& name) {
  RS_TRY(auto content, os::read_file(files, os::join_path(directory, name), kMaxFileBytes));
  return std::string(as_text(content));
}

}  // namespace

Result<TlsLinkOptions> load_desktop_identity(os::FileSystem& files, const std::string& directory) {
  TlsLinkOptions options;
  RS_TRY(auto text, read_text(files, directory, "desktop.json"));
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("coordinator") || !json["coordinator"].is_string())
    return fail(ErrorCode::corrupt,
                os::join_path(directory, "desktop.json") + ": no \"coordinator\": \"host:port\" in it");
  options.address = json["coordinator"].get<std::string>();
  RS_TRY(bool renewed, files.exists(os::join_path(directory, "identity.pem")));
  RS_TRY(options.certificate_pem, read_text(files, directory, renewed ? "identity.pem" : "cert.pem"));
  RS_TRY(options.key_pem, read_text(files, directory, renewed ? "identity.pem" : "key.pem"));
  RS_TRY(options.ca_pem, read_text(files, directory, "ca.pem"));
  return options;
}

Result<bool> renew_identity_if_due(os::FileSystem& files, const std::string& directory, TlsLink& link) {
  RS_TRY(auto present, load_desktop_identity(files, directory));
  RS_TRY(bool due, is_renewal_due(present.certificate_pem));
  if (!due) return false;
  RS_TRY_CTX(auto renewed, "renewing this desktop's certificate", link.renew_certificate());
  RS_CHECK(save_renewed_identity(files, directory, renewed));
  RS_CHECK(link.use_identity(renewed));
  return true;
}

}  // namespace roamstead::wire
