"""Looking at what is secret in the home: the identity, the authority where it is kept, and who may read their files."""

from roost.client.doctor.members import IdentitySeen
from roost.core.errors import NotAdmitted, NotFound, RoostError
from roost.disk.port import Disk
from roost.security.authority import KEY_PATH as AUTHORITY_KEY
from roost.security.authority import Authority, cluster_name_of
from roost.security.identity import KEY_PATH as IDENTITY_KEY
from roost.security.identity import Identity
from roost.settings.paths import Home

SECRETS = (IDENTITY_KEY, AUTHORITY_KEY)


def look_at_keys(disk: Disk, home: Home) -> tuple[IdentitySeen, Identity | None]:
    """What there is, and the identity if it is whole. Never raises a RoostError. Blocks."""
    modes = {}
    for path in SECRETS:
        try:
            modes[str(home.root / path)] = disk.info(path, follow=True).mode
        except RoostError:
            continue
    try:
        identity = Identity.load(disk)
        cluster = cluster_name_of(identity.authority)
    except NotAdmitted:
        return IdentitySeen(str(home.root), False, modes=modes), None
    except RoostError as error:
        return IdentitySeen(str(home.root), True, "", error.message, error.hint, modes), None
    seen = IdentitySeen(str(home.root), True, cluster, modes=modes)
    try:
        authority = Authority.load(disk)
    except NotFound:
        return seen, identity
    except RoostError as error:
        return IdentitySeen(str(home.root), True, cluster, error.message, error.hint, modes), identity
    if authority.cluster_hash != identity.cluster_hash:
        problem = "the authority in this home is of another cluster than its identity"
        hint = "move the folder authority away, or use the home that it belongs to (--home)"
        return IdentitySeen(str(home.root), True, cluster, problem, hint, modes), identity
    return seen, identity
