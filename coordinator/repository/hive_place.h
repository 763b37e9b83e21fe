// Where the keys and values of a hive lie in its page tree: one flat map for a whole hive, in the order of
// bytes (KeyOrder::bytes).
//
//   record of the root      00
//   record of any other key  <record of its parent> 02 <name> 00
//   value of a key           <record of the key> 01 <value's name>
//
// Names are upcased by the frozen table (common/base/text.h), in WTF-8, a NUL in them as C0 80, so that 00
// alone ends them: a subtree is all that begins with its key's record, and a key comes before its values,
// these before its subkeys.
//
// What would be too long for a page is hashed. Of a key whose record would exceed kMaxPlainBytes, the last
// ancestor that does not is the anchor, and its record lies at
//
//   <record of the anchor> 03 <SHA-256 of its parent's record> <SHA-256 of its own record>
//
// each hash of the record as it would be unhashed. It is within the subtree of its anchor and of all above;
// its children lie together; its values follow it as any key's do. A value whose place would exceed a page's
// limit is cut and ends in FF and the SHA-256 of its name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/profile/registry.h"

namespace roamstead::repository {

inline constexpr std::size_t kMaxPlainBytes = 896;  // a hashed value's place fits a page's key then

struct KeyPlace {
  std::string record;            // where the key's record lies
  std::size_t anchor_bytes = 0;  // of `record`, the anchor's; all of it unless the key is hashed
  std::size_t anchor_depth = 0;  // how many names the anchor's path has
  std::string own_hash;          // of a hashed key, 32 bytes

  bool is_hashed() const { return anchor_bytes != record.size(); }
  std::string_view anchor() const { return std::string_view(record).substr(0, anchor_bytes); }
  // What the places of its subkeys begin with: of the plain ones (with all below them), of the hashed ones.
  std::string plain_children() const { return record + '\x02'; }
  std::string hashed_children() const;
  std::string values() const { return record + '\x01'; }
};
KeyPlace place_of(const profile::KeyPath& key);
std::string value_place(const KeyPlace& key, std::string_view value);

// A place as it stands in a page.
struct ParsedPlace {
  std::vector<std::size_t> ends;  // of the records of the root and of each plain key down to the last
  bool is_hashed = false;         // the key is, below the last of these
  bool is_value = false;
  std::string_view record;  // of the key, or of the value's key
};
// ErrorCode::corrupt for what cannot be a place. The result views `place`.
Result<ParsedPlace> parse_place(std::string_view place);

// The least string that is greater than all that begin with `prefix`, which ends in no FF.
std::string after_all_within(std::string prefix);

}  // namespace roamstead::repository
