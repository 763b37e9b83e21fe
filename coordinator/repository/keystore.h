// The keys of a repository: id, id key, seal key, and one key for each profile. Small files outside the
// packs, readable by the owner only; whoever loses them loses the repository.
//
// A writer writes only the file of its own epoch, keystore/00000007.keys, replaced as a whole; the highest
// one counts. A writer that was superseded can therefore never take away a key that its successor made.
#pragma once

#include <map>
#include <shared_mutex>

#include "common/os/file.h"
#include "coordinator/repository/seal.h"

namespace roamstead::repository {

struct ProfileKey {
  Guid id;
  std::string name;
  Key key{};
  std::uint64_t created_100ns = 0;
};

// What a keystore file holds.
struct KeystoreContent {
  Guid repository;
  Key id_key{};
  Key seal_key{};
  std::vector<ProfileKey> profiles;
};
Bytes encode_keystore(const KeystoreContent& content);
Result<KeystoreContent> parse_keystore(ByteView bytes);

// Thread-safe.
class Keystore {
 public:
  // A new repository's keys, in the file of epoch 0. ErrorCode::exists when there is a keystore.
  static Result<void> create(os::FileSystem& files, const std::string& repository_directory);
  // The highest file there is.
  static Result<std::unique_ptr<Keystore>> open(os::FileSystem& files,
                                                const std::string& repository_directory);

  // Writes the content as `epoch`'s file and then removes the older ones.
  Result<void> take_over(std::uint64_t epoch);
  // Durable when it returns. ErrorCode::exists for a name that is taken. take_over() comes first.
  Result<ProfileKey> add_profile(const std::string& name, std::uint64_t now_100ns);

  const Guid& repository() const { return repository_; }
  const Key& id_key() const { return id_key_; }
  const Key& seal_key() const { return seal_key_; }
  std::vector<ProfileKey> profiles() const;
  // ErrorCode::not_found when the profile is unknown here or was deleted.
  Result<Key> profile_key(const Guid& profile) const;

 private:
  Keystore(os::FileSystem& files, std::string directory, KeystoreContent content);
  Result<void> write(const KeystoreContent& content) const;

  os::FileSystem& files_;
  std::string directory_;
  Guid repository_;
  Key id_key_{};
  Key seal_key_{};
  mutable std::shared_mutex mutex_;
  std::map<Guid, ProfileKey> profiles_;
  std::uint64_t epoch_ = 0;
};

}  // namespace roamstead::repository
