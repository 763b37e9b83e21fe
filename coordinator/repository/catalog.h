// The index over the packs: where each object lies, which versions each profile has. A SQLite database on the
// coordinator's local disk; everything in it can be made anew from packs and keystore, so it need not survive
// anything. It never runs ahead of the packs: what it holds is durable there.
#pragma once

#include <memory>
#include <optional>

#include "coordinator/repository/commit_record.h"

namespace roamstead::repository {

struct CatalogedVersion {
  ProfileId profile;
  VersionInfo info;
  Bytes root;
};

struct IndexedPack {
  std::uint64_t bytes = 0;  // up to here the pack is in the catalog
  Guid mark;                // of the pack that it was
};

// What one group commit adds, in one transaction.
struct CatalogUpdate {
  std::vector<Location> objects;
  std::vector<CatalogedVersion> versions;
  std::map<PackNumber, IndexedPack> indexed;
};

// Thread-safe.
class Catalog {
 public:
  // `create`: makes the tables when they are missing; otherwise the catalog is opened for reading only, and
  // must be there.
  static Result<std::unique_ptr<Catalog>> open(const std::string& path, const Guid& repository, bool create);
  virtual ~Catalog() = default;

  virtual Result<void> add_profile(const ProfileId& id,
                                   const std::string& name) = 0;  // no change when it is there
  virtual Result<std::vector<ProfileInfo>> profiles() const = 0;
  virtual Result<std::optional<ProfileInfo>> find_profile(const std::string& name) const = 0;
  virtual Result<std::optional<ProfileInfo>> find_profile(const ProfileId& id) const = 0;

  virtual Result<void> apply(const CatalogUpdate& update) = 0;
  virtual Result<std::map<PackNumber, IndexedPack>> indexed() const = 0;

  virtual Result<std::vector<VersionInfo>> versions(const ProfileId& profile) const = 0;
  virtual Result<std::optional<CatalogedVersion>> version(const ProfileId& profile,
                                                          std::uint64_t number) const = 0;
  virtual Result<std::optional<CatalogedVersion>> find_batch(const ProfileId& profile,
                                                             const Guid& incarnation,
                                                             std::uint64_t ordinal) const = 0;
  virtual Result<std::uint64_t> highest_version(const ProfileId& profile) const = 0;  // 0: none

  virtual Result<std::optional<Location>> find_object(const ObjectId& id) const = 0;
  // In the order of packs and offsets; at most `limit` after the given place.
  virtual Result<std::vector<Location>> objects_after(PackNumber pack, std::uint64_t offset,
                                                      std::size_t limit) const = 0;

  struct Totals {
    std::uint64_t versions = 0, objects = 0, logical_bytes = 0;
  };
  virtual Result<Totals> totals() const = 0;
};

}  // namespace roamstead::repository
