#include "coordinator/server/authority_place.h"

namespace roamstead::server {
namespace {

constexpr std::uint64_t kMostBytesOfNote = 4096;

Result<identity::CertificateAuthority> open_existing(os::FileSystem& files, const std::string& directory) {
  RS_TRY(bool there, files.exists(os::join_path(directory, "ca-cert.pem")));
  if (!there)
    return fail(ErrorCode::not_found, directory + ": holds no authority (ca-key.pem and ca-cert.pem)");
  return identity::CertificateAuthority::open_or_create(files, directory);
}

}  // namespace

Result<identity::CertificateAuthority> open_authority(os::FileSystem& files,
                                                      const std::string& state_directory,
                                                      const std::string& configured) {
  auto note = os::join_path(state_directory, kAuthorityNote);
  if (!configured.empty()) {
    RS_TRY_CTX(auto authority, "tls.authority", open_existing(files, configured));
    RS_CHECK(os::write_file_durably(files, note, as_bytes(configured)));
    return authority;
  }
  RS_TRY(auto authority, identity::CertificateAuthority::open_or_create(
                             files, os::join_path(state_directory, kAuthorityDirectory)));
  RS_TRY(bool noted, files.exists(note));
  if (noted) RS_CHECK(files.remove(note));
  return authority;
}

Result<identity::CertificateAuthority> open_noted_authority(os::FileSystem& files,
                                                            const std::string& state_directory) {
  auto note = os::join_path(state_directory, kAuthorityNote);
  RS_TRY(bool noted, files.exists(note));
  if (!noted)
    return identity::CertificateAuthority::open_or_create(
        files, os::join_path(state_directory, kAuthorityDirectory));
  RS_TRY(auto directory, os::read_file(files, note, kMostBytesOfNote));
  return open_existing(files, std::string(as_text(directory))).map_error([](Error error) {
    return std::move(error).with(
        "the authority's key may be at hand only while the coordinator runs; start it");
  });
}

}  // namespace roamstead::server
