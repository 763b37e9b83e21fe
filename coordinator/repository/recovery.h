// What opening does with packs: take the next writer epoch, settle how far the older ones count, and bring
// the catalog up to date. The same reading makes the catalog anew.
#pragma once

#include "coordinator/repository/catalog.h"
#include "coordinator/repository/keystore.h"
#include "coordinator/repository/pack_store.h"

namespace roamstead::repository {

// Reads one pack from `begin` on. Records that are whole and unbroken go into `update`, versions with them.
// Returns where the last of them ends. Damage before `certain_end` (bytes known to have been durable) is
// reported in `problems` and stepped over; the first damage after it ends the pack, unless a later commit
// record says that the place was durable when it was written. Unsynced bytes at the end of a crashed writer's
// pack are expected.
Result<std::uint64_t> read_pack(const PackStore& packs, const Keystore& keys, PackNumber pack,
                                std::uint64_t begin, std::uint64_t certain_end, std::uint64_t limit,
                                CatalogUpdate& update, std::vector<std::string>& problems);

// All packs that count, from where the catalog ends. `accepted`: what the latest successor recorded; packs of
// its epoch and later ones count as far as they are whole. Returns the lengths of all packs, for the next
// successor to record.
Result<AcceptedLengths> catch_up(const PackStore& packs, const Keystore& keys, Catalog& catalog,
                                 const PackStore::Accepted& accepted, std::uint64_t below_epoch,
                                 std::vector<std::string>& problems);

// Whether the catalog is of another history than the packs: it knows more of a pack than counts (somebody
// wrote it who had been superseded), another pack of the same number, or an epoch that has only now been
// claimed (the storage was set back to an earlier state).
Result<bool> is_of_other_history(const Catalog& catalog, const PackStore& packs,
                                 const PackStore::Accepted& accepted, std::uint64_t claimed_epoch);

}  // namespace roamstead::repository
