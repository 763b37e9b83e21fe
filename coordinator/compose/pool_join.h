// Where the desktops of a pool get their accounts in a domain from: made over LDAP, or from blobs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/compose/join_blobs.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/compose/units.h"
#include "coordinator/join/directory.h"

namespace roamstead::compose {

class PoolJoin {
 public:
  // Connects, or reads the blobs of these machines. Where the specification joins no domain, an empty one.
  static Result<PoolJoin> open(os::FileSystem& files, const PoolSpec& spec,
                               const std::vector<std::string>& machines);
  // To take accounts away that were made: blobs are not needed for that.
  static Result<PoolJoin> connect(os::FileSystem& files, const PoolSpec& spec);

  // What units need of it; nothing where no domain is joined.
  Result<std::optional<JoinContext>> context(const PoolSpec& spec, const ImageHives& hives) const;
  // A membership that has the size of the clones'.
  CloneFacts example(CloneFacts facts) const;

  struct Account {
    std::optional<join::Membership> membership;
    std::string account;  // as CloneRow has it
    std::optional<Error> error;
  };
  // One for each row, in their order; those made already get none. Neither a membership nor an error: it
  // needs none.
  Result<std::vector<Account>> accounts(const PoolSpec& spec, PoolStore& store,
                                        const std::vector<CloneRow>& rows);
  // Puts the membership into what a clone is made from. May be called by several threads at once.
  Result<void> complete(CloneFacts& facts, const Account& account) const;

  // Whether accounts are ours to delete. One that is not there is fine.
  bool has_directory() const { return directory_.has_value(); }
  Result<void> take_away(const CloneRow& clone);

 private:
  explicit PoolJoin(os::FileSystem& files) : files_(&files) {}

  os::FileSystem* files_;
  std::optional<join::Directory> directory_;
  std::optional<JoinBlobs> blobs_;
};

// What an administrator should know of a pool's way into its domain: for the plan.
std::vector<std::string> join_warnings(const PoolSpec& spec, const WindowsImage& image);

}  // namespace roamstead::compose
