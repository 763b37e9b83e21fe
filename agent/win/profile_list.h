// A user's entry in the list of profiles, by which Windows finds the profile at a log-on:
// HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\SID with
//   ProfileImagePath  REG_EXPAND_SZ  the profile's folder, "C:\Users\alice"
//   Sid               REG_BINARY     the same SID, in binary
//   Flags, State      REG_DWORD      0: an ordinary local profile, loaded by nobody
//   Roamstead         REG_DWORD      1: the entry is ours; Windows ignores it
// Not CreateProfile: that would fill the folder from the default user's before we can.
#pragma once

#include <string>
#include <vector>

#include "agent/win/user_account.h"

namespace roamstead::agent {

// The entry is there and says `folder` (a Windows path). ErrorCode::conflict when Windows has a profile of
// the user elsewhere, unless `replace`. Durable when it returns.
Result<void> register_profile(const UserAccount& user, const std::string& folder, bool replace);
// Removes an entry of ours; fine when there is none.
Result<void> unregister_profile(const std::string& sid);
// SIDs of all entries of ours.
Result<std::vector<std::string>> registered_profiles();
// Whether Windows has the user's registry loaded (HKEY_USERS\SID).
bool is_hive_loaded(const std::string& sid);

}  // namespace roamstead::agent
