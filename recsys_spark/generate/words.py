"""The words that made-up titles consist of."""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _split("""
Amber Ancient Bitter Black Blue Borrowed Bright Broken Burning Careless Cold Crimson Crooked Dark Distant Double
Drifting Electric Empty Endless Fallen Fearless Final First Forgotten Frozen Gentle Golden Grand Green Happy Hidden
Hollow Hungry Invisible Iron Last Little Lonely Long Lost Lucky Midnight Missing Modern Naked New Northern Old
Painted Pale Paper Perfect Private Quiet Red Restless Royal Sacred Scarlet Second Secret Seventh Silent Silver
Sleeping Small Southern Stolen Strange Sudden Sweet Tender Third Twisted Unknown Velvet Violent Wandering White
Wicked Wild Winter Young
""")
NOUNS = _split("""
Affair Agent Angel Animal Arrow Autumn Bandit Bargain Battle Beach Bell Bird Border Boy Bride Bridge Brother Captain
Carnival Castle Cat Chance Child Circus City Coast Code Company Conspiracy Country Cowboy Crime Crossing Crown Dance
Daughter Day Desert Detective Dinner Doctor Dog Door Dream Driver Empire Enemy Escape Express Eye Family Father
Fever Fire Flower Forest Fortune Friend Game Garden Ghost Girl Harbor Harvest Heart Hero Highway Holiday Hotel Hour
House Hunter Husband Island Journey Judge Key King Kingdom Kiss Lake Language Letter Lie Life Light Lover Machine
Map Mask Melody Memory Mirror Moon Morning Mother Mountain Murder Night Ocean Orchard Outlaw Pilot Planet Player
Promise Queen Rain Razor Reporter Return Riddle Rider River Road Robot Room Rose Runner Sailor School Sea Season
Shadow Shore Sister Sky Snow Soldier Son Song Spy Star Station Storm Story Stranger Street Summer Sun Teacher Thief
Tiger Tower Town Train Traveler Tree Valley Voice Voyage Wall War Wave Wedding Widow Wife Wind Window Wolf Woman
World Writer Year
""")
NAMES = _split("""
Ada Agnes Alice Anton Bela Boris Bruno Carla Cleo Cosmo Daphne Dmitri Edgar Elena Elmer Esther Felix Flora Frida
Greta Gus Hana Harriet Hugo Ida Igor Iris Ivan Jasper Joan June Kenji Lars Lena Leo Lola Lucia Mabel Marco Marta Max
Mila Milo Nadia Nell Nico Olga Oscar Otto Paula Pedro Pilar Quinn Rosa Ruben Ruth Sami Selma Stella Sven Tara Theo
Tilda Ugo Vera Victor Walter Wanda Xenia Yuri Zelda Zoe
""")
PLACES = _split("""
Alabama Algiers Athens Berlin Bombay Boston Brooklyn Cairo Chicago Dakota Dublin Florence Geneva Havana Helsinki
Istanbul Jakarta Kansas Kyoto Lisbon London Lyon Madrid Manila Marseille Memphis Montana Naples Nashville Oslo Paris
Prague Quebec Rome Savannah Seoul Seville Tangier Texas Tokyo Toledo Trieste Tulsa Venice Vienna Warsaw Zanzibar
""")

ORIGINALS = (
    "Été à {place}, L'",
    "Château de {name}, Le",
    "Über den {place}-Fluß",
    "Niño de {place}, El",
    "Señora {name}, La",
    "Höhle von {place}, Die",
    "Ångström och {name}",
    "Pięć dni w {place}",
    "{name} și orașul",
    "Días en {place}",
    "Forêt de {name}, La",
    "Größte {name}, Der",
    "Noční {name}",
    "{name}'nın şarkısı",
    "Corazón de {name}, El",
    "Łódka do {place}",
    "Дом {name}",
    "{name} 物語",
    "Βράδυ στην {place}",
)
"""Titles in other languages, with a place or a name in them."""
