// The `direct` route: the finished membership of a domain is written into a powered-off Windows, so that
// nothing is left to do at its boot. docs/domain-join.md says where each value goes and how that is known.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/registry/hive.h"
#include "coordinator/compose/edit.h"
#include "coordinator/join/lsa.h"
#include "coordinator/join/membership.h"

namespace roamstead::join {

// An edit whose data differs from clone to clone.
struct OwnEdit {
  compose::RegistryEdit edit;
  // The most bytes its data can have in any clone. What is reserved in a template must hold that; a value
  // that is shorter needs its size field set too. Equal to the data's size but for names, which may differ in
  // length.
  std::uint32_t capacity_bytes = 0;
};

// How passwords of machines are treated.
struct DirectOptions {
  // Clones that are thrown back to a snapshot must keep their password, or they fall out of the domain.
  bool keep_password = true;
};

// What joining one image needs to know of its hives. Read once for a pool; then its methods may be called by
// several threads at once, also after the hives are gone.
class DirectJoin {
 public:
  // Refuses hives whose secrets cannot be sealed (see lsa.h).
  static Result<DirectJoin> open(const registry::Hive& system, const registry::Hive& security,
                                 const registry::Hive& sam);

  // The same for every clone of a pool: the domain's names in SECURITY, its groups in SAM, services in
  // SYSTEM, the log-on's default domain in SOFTWARE. Computed from the image's present state.
  Result<std::vector<compose::RegistryEdit>> common(const registry::Hive& sam, const Domain& domain,
                                                    const DirectOptions& options) const;

  // This clone's own: its secret with its times, its name, its account. `now_100ns` is when the password was
  // set. Every call gives edits of the same keys and names in the same order.
  Result<std::vector<OwnEdit>> own(const Membership& membership, std::uint64_t now_100ns) const;

  const LsaKeys& keys() const { return keys_; }
  const std::string& control_set() const { return control_set_; }

 private:
  std::string control_set_;
  LsaKeys keys_;
  bool has_machine_account_ = false;  // Windows 8.1 and later keep its SID in SECURITY
};

// All edits for one machine: common, then own.
Result<std::vector<compose::RegistryEdit>> direct_join_edits(
    const registry::Hive& system, const registry::Hive& security, const registry::Hive& sam,
    const Membership& membership, std::uint64_t now_100ns, const DirectOptions& options = {});

// The password of a machine as its hives hold it: CurrVal of $MACHINE.ACC. For tests, `clone show` and
// refresh.
Result<SecretBytes> machine_password(const registry::Hive& system, const registry::Hive& security);

}  // namespace roamstead::join
