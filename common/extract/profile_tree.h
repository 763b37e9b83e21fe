// Where files lie with respect to a profile: inside (and by which paths), in the staging folder, or outside.
// Follows parent references with their sequence numbers; remembers directories.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/extract/selection.h"
#include "common/ntfs/volume.h"

namespace roamstead::extract {

enum class Place {
  inside,
  staging,
  outside,
  broken,  // a parent is damaged, another file by now, or its own ancestor
};

// One name of a file inside the profile.
struct Location {
  ntfs::FileReference parent;
  std::string name;
  std::string path;  // relative to the profile's root; "" for the root itself
};

struct Placement {
  Place place = Place::outside;
  std::vector<Location> names;  // inside: by path
  std::string problem;          // broken
};

// Not thread-safe.
class ProfileTree {
 public:
  struct Roots {
    ntfs::FileReference profile;
    std::optional<std::uint64_t> staging;  // record number
    std::set<std::uint64_t> excluded;      // records of directories that count as outside
  };
  // Looks the paths up. An empty staging path: none. ErrorCode::not_found when there is no profile root.
  static Result<Roots> find_roots(const ntfs::Volume& volume, const std::string& profile_root,
                                  const std::string& staging_root, const std::vector<std::string>& excluded);

  // What `selection` leaves out counts as outside; null: nothing is. It must outlive this object.
  ProfileTree(const ntfs::Volume& volume, Roots roots, const Selection* selection = nullptr);

  const Roots& roots() const { return roots_; }
  const Selection& selection() const { return *selection_; }
  Placement place(const ntfs::FileRecord& file);

  struct Directory {
    Place place = Place::outside;
    std::string path;     // inside
    std::string problem;  // broken
  };
  // Of a directory by reference. The result stays valid as long as this object.
  const Directory& directory(const ntfs::FileReference& reference);

 private:
  Directory resolve(const ntfs::FileReference& reference, std::size_t depth);
  const Directory& directory_at(const ntfs::FileReference& reference, std::size_t depth);

  const ntfs::Volume& volume_;
  Roots roots_;
  const Selection* selection_;
  std::map<ntfs::FileReference, Directory> directories_;
};

}  // namespace roamstead::extract
