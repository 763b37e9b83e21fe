// The edits of a customisation, each a small unit of its own with a name: what it changes for all desktops of
// a pool alike (made once, in the pool's template), and what differs from desktop to desktop.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/volume/partition.h"
#include "coordinator/compose/image.h"
#include "coordinator/compose/pool_spec.h"
#include "coordinator/join/direct.h"
#include "coordinator/join/odj_blob.h"

namespace roamstead::compose {

// What is one desktop's own.
struct CloneFacts {
  std::string name;
  std::uint64_t index = 0;  // from 0, within the pool
  Guid machine_guid;
  Guid hardware_guid = Guid::random();
  // Its identity towards the coordinator (docs/format-identity.md).
  std::string desktop_json;
  std::string identity_pem;                                   // key and certificate: a secret
  std::optional<join::Membership> membership = std::nullopt;  // with a JoinContext
  join::SecretBytes join_blob = {};  // in its binary form, where the account comes from one; else it is made
  volume::TableIds user_disk = {};   // of a formatted one
};

struct JoinContext {
  std::optional<join::DirectJoin> direct;  // for that method alone
  join::Domain domain;
  join::Controller controller;        // where accounts were made
  std::uint64_t most_blob_bytes = 0;  // no clone's blob is longer
};

struct UnitContext {
  const PoolSpec& spec;
  const WindowsImage& image;
  const ImageHives& hives;
  std::string ca_pem;
  const JoinContext* join = nullptr;          // null: no domain is joined
  const Bytes* first_boot_program = nullptr;  // null or empty: the image needs none
};

// A value or file that differs from desktop to desktop. The template holds room for `capacity_bytes`; no
// desktop's data is longer, nor, of a value with room for more, 4 bytes or shorter, which a hive keeps in
// another place. Names are the same for all.
struct OwnValue {
  RegistryEdit edit;
  std::uint32_t capacity_bytes = 0;
};
struct OwnFile {
  FileEdit edit;
  std::uint32_t capacity_bytes = 0;  // whole sectors; what the content leaves is filled with line ends
};
struct OwnEdits {
  std::vector<OwnValue> values;
  std::vector<OwnFile> files;
};

struct Unit {
  const char* name;
  const char* what;                                                  // one line for people
  Result<void> (*common)(const UnitContext& context, Edits& edits);  // may be null
  Result<void> (*own)(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);  // may be null
};

std::span<const Unit> units();

// Of all units, in their order, each edit with its unit's name. Errors name the unit.
Result<Edits> common_edits(const UnitContext& context);
Result<OwnEdits> own_edits(const UnitContext& context, const CloneFacts& clone);
// Of the unit "identity" alone: for a disk that is to have another.
OwnEdits identity_edits(const CloneFacts& clone);

}  // namespace roamstead::compose
