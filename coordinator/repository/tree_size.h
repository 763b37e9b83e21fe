// How much a tree holds, as its user would count it: the bytes of all files, alternate streams and registry
// values' data, before deduplication and compression. Names, attributes and keys count nothing.
#pragma once

#include "coordinator/repository/objects.h"

namespace roamstead::repository {

// Of one entry, without what is below it.
std::uint64_t content_bytes(const profile::Entry& entry);
inline std::uint64_t content_bytes(const Node& node) { return content_bytes(node.entry); }

// Of all values' data of the hive with this root page; zero: of one without keys.
Result<std::uint64_t> hive_bytes(ProfileObjects& objects, const ObjectId& root);

// Of a node and all below it; reads every page of that.
Result<std::uint64_t> tree_bytes(ProfileObjects& objects, const Node& node);

}  // namespace roamstead::repository
