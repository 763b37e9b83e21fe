// The names of everything in the profile, as they were at one instant, found without stopping anybody: every
// folder is looked at again after the last one was listed, and those that changed are listed anew, until none
// did.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <unordered_map>

#include "agent/scan/scan_source.h"

namespace roamstead::agent {

struct ListedName {
  std::uint64_t parent = 0;  // record
  std::string name;
};

struct ListedItem {
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;  // 0: the volume does not tell
  bool directory = false;
  ItemStamp stamp;
  std::vector<ListedName> names;  // within the profile; none: the profile's folder
};

struct TreeListing {
  std::uint64_t root = 0;
  std::optional<std::uint64_t> staging;  // the folder of what has yet to be named; its items are here too
  std::unordered_map<std::uint64_t, ListedItem> items;  // by record; with the root
};

struct ListedFolder {
  std::string path;  // in the profile
  ItemStamp stamp;   // before it was listed
  bool unsettled = false;
  std::vector<ScannedItem> items;
};

// What was listed, for who goes on from there.
struct ListedFolders {
  ScannedItem root;
  std::unordered_map<std::uint64_t, ListedFolder> by_record;
};

struct ListingScope {
  std::string profile_root, staging_root;  // on the volume
  // Says of a folder's path in the profile whether nothing in it is to be listed.
  std::function<bool(const std::string& path)> leaves_out;
};

// `folders` is left as it was listed. ErrorCode::busy: the folders changed all the time.
Result<TreeListing> list_tree(ScanSource& source, const ListingScope& scope, ListedFolders& folders);

// Only `changed` of them is listed anew, what is reached for the first time, and what the source says has
// changed meanwhile; of the same scope. Nothing: that does not fit together, and everything must be listed.
Result<std::optional<TreeListing>> list_changed(ScanSource& source, const ListingScope& scope,
                                                ListedFolders& folders, std::set<std::uint64_t> changed);

}  // namespace roamstead::agent
