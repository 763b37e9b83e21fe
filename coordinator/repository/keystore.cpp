#include "coordinator/repository/keystore.h"

#include <algorithm>
#include <mutex>
#include <set>

#include <fmt/format.h>

#include "common/base/crc32c.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kMagic = 0x31305359454B5352;  // "RSKEYS01"
constexpr std::uint64_t kMaxKeystoreBytes = 256u << 20;
constexpr std::size_t kMaxNameBytes = 1024;

std::string directory_of(const std::string& repository_directory) {
  return os::join_path(repository_directory, "keystore");
}
std::string file_name(std::uint64_t epoch) { return fmt::format("{:08}.keys", epoch); }

Result<Key> read_key(ByteReader& reader) {
  RS_TRY(auto part, reader.take(32));
  Key key;
  std::copy(part.begin(), part.end(), key.begin());
  return key;
}

Result<Guid> read_guid(ByteReader& reader) {
  RS_TRY(auto part, reader.take(16));
  return Guid::from(part);
}

// Names sort by epoch: the digits are fixed. Older first.
Result<std::vector<std::string>> keystore_files(os::FileSystem& files, const std::string& directory) {
  RS_TRY(auto names, files.list_directory(directory));
  std::erase_if(names, [](const std::string& name) { return name.size() < 13 || !name.ends_with(".keys"); });
  return names;
}

}  // namespace

Bytes encode_keystore(const KeystoreContent& content) {
  ByteWriter out;
  out.le(kMagic);
  out.bytes(content.repository.bytes);
  out.bytes(content.id_key);
  out.bytes(content.seal_key);
  out.le(static_cast<std::uint64_t>(content.profiles.size()));
  for (const auto& profile : content.profiles) {
    out.bytes(profile.id.bytes);
    out.bytes(profile.key);
    out.le(profile.created_100ns);
    out.le(static_cast<std::uint16_t>(profile.name.size()));
    out.bytes(as_bytes(profile.name));
  }
  out.le(crc32c(out.view()));
  return out.take();
}

Result<KeystoreContent> parse_keystore(ByteView bytes) {
  if (bytes.size() < 12 || load_le<std::uint64_t>(bytes) != kMagic)
    return fail(ErrorCode::corrupt, "no keystore: 'RSKEYS01' expected at offset 0");
  if (load_le<std::uint32_t>(bytes, bytes.size() - 4) != crc32c(bytes.first(bytes.size() - 4)))
    return fail(ErrorCode::corrupt,
                "the checksum at offset " + std::to_string(bytes.size() - 4) + " does not match");
  ByteReader reader(bytes.first(bytes.size() - 4));
  KeystoreContent content;
  RS_CHECK(reader.take(8).map([](ByteView) {}));
  RS_TRY(content.repository, read_guid(reader));
  RS_TRY(content.id_key, read_key(reader));
  RS_TRY(content.seal_key, read_key(reader));
  RS_TRY(auto count, reader.le<std::uint64_t>());
  std::set<Guid> ids;
  for (std::uint64_t i = 0; i < count; ++i) {
    ProfileKey profile;
    RS_TRY(profile.id, read_guid(reader));
    RS_TRY(profile.key, read_key(reader));
    RS_TRY(profile.created_100ns, reader.le<std::uint64_t>());
    RS_TRY(auto length, reader.le<std::uint16_t>());
    RS_TRY(auto name, reader.take(length));
    profile.name = std::string(as_text(name));
    if (!ids.insert(profile.id).second)
      return fail(ErrorCode::corrupt, "profile " + profile.id.to_string() + " is listed twice");
    content.profiles.push_back(std::move(profile));
  }
  if (reader.remaining() != 0)
    return fail(ErrorCode::corrupt, std::to_string(reader.remaining()) + " bytes too many at offset " +
                                        std::to_string(reader.offset()));
  return content;
}

Keystore::Keystore(os::FileSystem& files, std::string directory, KeystoreContent content)
    : files_(files),
      directory_(std::move(directory)),
      repository_(content.repository),
      id_key_(content.id_key),
      seal_key_(content.seal_key) {
  for (auto& profile : content.profiles) profiles_.emplace(profile.id, std::move(profile));
}

Result<void> Keystore::create(os::FileSystem& files, const std::string& repository_directory) {
  auto directory = directory_of(repository_directory);
  RS_CHECK(files.make_directories(directory));
  RS_TRY(auto names, keystore_files(files, directory));
  if (!names.empty()) return fail(ErrorCode::exists, repository_directory + ": is a repository already");
  KeystoreContent content;
  content.repository = Guid::random();
  content.id_key = random_key();
  content.seal_key = random_key();
  RS_CHECK(os::write_file_durably(files, os::join_path(directory, file_name(0)), encode_keystore(content)));
  return files.sync_directory(repository_directory);
}

Result<std::unique_ptr<Keystore>> Keystore::open(os::FileSystem& files,
                                                 const std::string& repository_directory) {
  auto directory = directory_of(repository_directory);
  // A writer that takes over removes older files while we look: look again.
  for (int attempt = 0;; ++attempt) {
    auto names = keystore_files(files, directory);
    if (!names && names.error().code != ErrorCode::not_found) return fail(std::move(names).error());
    if (!names || names->empty())
      return fail(ErrorCode::not_found,
                  repository_directory + ": no repository (there is no keystore; 'repo init' makes one)");
    auto path = os::join_path(directory, names->back());
    auto bytes = os::read_file(files, path, kMaxKeystoreBytes);
    if (!bytes && bytes.error().code == ErrorCode::not_found && attempt < 10) continue;
    if (!bytes) return fail(std::move(bytes).error());
    RS_TRY_CTX(auto content, path, parse_keystore(*bytes));
    return std::unique_ptr<Keystore>(new Keystore(files, directory, std::move(content)));
  }
}

Result<void> Keystore::write(const KeystoreContent& content) const {
  return os::write_file_durably(files_, os::join_path(directory_, file_name(epoch_)),
                                encode_keystore(content));
}

Result<void> Keystore::take_over(std::uint64_t epoch) {
  KeystoreContent content{repository_, id_key_, seal_key_, profiles()};
  epoch_ = epoch;
  RS_CHECK(write(content));
  RS_TRY(auto names, keystore_files(files_, directory_));
  for (const auto& name : names)
    if (name < file_name(epoch)) RS_CHECK(files_.remove(os::join_path(directory_, name)));
  return files_.sync_directory(directory_);
}

Result<ProfileKey> Keystore::add_profile(const std::string& name, std::uint64_t now_100ns) {
  if (name.empty() || name.size() > kMaxNameBytes)
    return fail(ErrorCode::invalid_argument,
                "a profile's name has 1 to " + std::to_string(kMaxNameBytes) + " bytes");
  for (char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == '/')
      return fail(ErrorCode::invalid_argument,
                  "a profile's name holds no '/' or control characters: '" + name + "'");
  auto at = name.rfind('@');
  if (at != std::string::npos && name.find_first_not_of("0123456789", at + 1) == std::string::npos)
    return fail(ErrorCode::invalid_argument,
                "'" + name + "' looks like a version of a profile, not like a profile's name");
  std::unique_lock guard(mutex_);
  KeystoreContent content{repository_, id_key_, seal_key_, {}};
  for (const auto& [id, profile] : profiles_) {
    if (profile.name == name) return fail(ErrorCode::exists, "profile '" + name + "' exists");
    content.profiles.push_back(profile);
  }
  ProfileKey added{Guid::random(), name, random_key(), now_100ns};
  content.profiles.push_back(added);
  RS_CHECK(write(content));
  profiles_.emplace(added.id, added);
  return added;
}

std::vector<ProfileKey> Keystore::profiles() const {
  std::shared_lock guard(mutex_);
  std::vector<ProfileKey> all;
  for (const auto& [id, profile] : profiles_) all.push_back(profile);
  return all;
}

Result<Key> Keystore::profile_key(const Guid& profile) const {
  std::shared_lock guard(mutex_);
  auto found = profiles_.find(profile);
  if (found == profiles_.end())
    return fail(ErrorCode::not_found, "the keystore has no key for profile " + profile.to_string());
  return found->second.key;
}

}  // namespace roamstead::repository
